"""Fetching over TLS: a certificate that the user's authority signed is trusted, another one costs the row."""

import json
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from curate.readers.images import http
from tests.curate.readers.faulty import IMAGES, FaultyServer
from tests.curate.readers.test_fetching import fetched

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
(PATH, IMAGE), *_ = IMAGES.items()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with FaultyServer(context) as running:
        yield running


def test_an_authority_named_by_ssl_cert_file_is_trusted(tmp_path, server, certificate):
    code = (
        "import sys; from pathlib import Path; from tests.curate.readers.test_fetching import fetched;"
        " print(fetched(Path(sys.argv[1]), [sys.argv[2]])[0][0])"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "SSL_CERT_FILE": str(certificate / "cert.pem"), "PYTHONPATH": str(root)}
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), server.url(PATH)],
        env=environment, cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (tmp_path / ended.stdout.strip()).read_bytes() == IMAGE


def test_an_unknown_authority_costs_the_row_and_one_attempt(tmp_path, server, monkeypatch):
    attempts = []
    whole = http.attempt

    async def counted(session, url, *rest):
        attempts.append(url)
        await whole(session, url, *rest)

    monkeypatch.setattr(http, "attempt", counted)
    urls = [server.url(path) for path in IMAGES]
    found, counts = fetched(tmp_path, urls, attempts=5)
    assert found == [f"remote_unavailable:{url}" for url in urls]
    assert sorted(attempts) == sorted(urls)
    assert counts["remote_unavailable"] == len(urls)
    journal = [json.loads(line) for line in (tmp_path / "images" / "remote.jsonl").read_text().splitlines()]
    assert all("certificate is not valid" in entry["detail"] for entry in journal)
    assert not server.asked
