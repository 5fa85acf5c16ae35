"""Fetching against a server that fails: what arrives is whole, what does not has a class."""

import asyncio
import errno
import json
import socket
import time
from concurrent.futures import wait

import pytest

from curate.readers.images.download import checked_socket, is_public, mirrored
from curate.readers.images.http import FetchLog, RemoteImages
from curate.readers.images.store import ImageStore, content_path, store_images
from curate.settings.signals import MeasureSettings
from curate.settings.sources import RemoteSettings
from tests.curate.readers.faulty import BIG, ETAG, IMAGES, FaultyServer
from tests.processes import free_port
from winnow.errors import UserError
from winnow.rows.records import Sample


@pytest.fixture
def server():
    with FaultyServer() as running:
        yield running


def fetched(folder, urls, *, max_bytes=10_000_000, max_pixels=1_000_000, **settings):
    """Results in order, and the counts."""
    wanted = RemoteSettings(**{"allow_private": True, "backoff": 0.01, "timeout": 5.0, **settings})
    store = ImageStore(folder)
    with RemoteImages(store, wanted, MeasureSettings(max_bytes=max_bytes, max_pixels=max_pixels)) as images:
        futures = [images.submit(url) for url in urls]
        wait(futures)
        return [future.result() for future in futures], images.counts


def one(folder, server, path, **settings):
    (found,), _ = fetched(folder, [server.url(path)], **settings)
    return found


def test_many_at_once_each_once(tmp_path, server):
    server.delay = 0.05
    urls = [server.url(path) for path in IMAGES] * 2
    found, counts = fetched(tmp_path, urls, concurrency=6, per_host=4)
    assert found == [content_path(data) for data in IMAGES.values()] * 2
    assert [(tmp_path / path).read_bytes() for path in found[:20]] == list(IMAGES.values())
    assert set(server.asked.values()) == {1}
    assert 1 < server.most_at_once <= 4
    assert counts["fetched"] == 20
    assert sorted(path.name for path in (tmp_path / "images").iterdir() if path.suffix == ".jsonl") == ["remote.jsonl"]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("path", "times"),
    [("/503", 2), ("/break", 2), ("/break-ignores-range", 2), ("/break-weak", 2), ("/wrong-range", 3)],
)
def test_what_passes_is_tried_again(tmp_path, server, path, times):
    assert (tmp_path / one(tmp_path, server, path)).read_bytes() == BIG
    assert server.asked[path] == times


def test_the_rest_is_asked_for_by_range_and_etag(tmp_path, server):
    one(tmp_path, server, "/break")
    ((_, asked, condition),) = server.ranges
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= len(BIG) // 2
    assert condition == ETAG


def test_a_weak_etag_is_no_reason_to_join_two_halves(tmp_path, server):
    one(tmp_path, server, "/break-weak")
    assert server.ranges == []


def test_a_file_that_changed_in_between_is_taken_whole(tmp_path, server):
    assert one(tmp_path, server, "/break-changed") == content_path(IMAGES["/ok/1.jpg"])


def test_retry_after_is_waited_for_by_the_whole_host(tmp_path, server):
    found, _ = fetched(tmp_path, [server.url("/429")], per_host=1)
    assert found == [content_path(BIG)]
    before, after = server.times["/429"]
    assert after - before >= 1.0


def test_a_stalled_connection_is_given_up_and_tried_again(tmp_path, server):
    assert one(tmp_path, server, "/stalls", timeout=1.0) == content_path(BIG)


@pytest.mark.parametrize(
    ("path", "kind", "times", "settings"),
    [
        ("/status/404", "remote_404", 1, {}),
        ("/status/410", "remote_404", 1, {}),
        ("/status/403", "remote_denied", 1, {}),
        ("/status/418", "remote_http", 1, {}),
        ("/status/204", "remote_http", 1, {}),
        ("/500-always", "remote_unavailable", 3, {"attempts": 3}),
        ("/always-breaks", "remote_unavailable", 2, {"attempts": 2}),
        ("/longer-than-sent", "remote_unavailable", 2, {"attempts": 2}),
        ("/429-for-long", "remote_unavailable", 1, {}),
        ("/drips", "remote_unavailable", 1, {"deadline": 2.0, "attempts": 1}),
        ("/page.jpg", "remote_not_an_image", 1, {}),
        ("/empty.jpg", "remote_not_an_image", 1, {}),
        ("/loop", "remote_redirects", 1, {}),
        ("/hop/9", "remote_redirects", 1, {}),
        ("/to-file", "remote_bad_url", 1, {}),
        ("/too-large", "remote_too_large", 1, {"max_bytes": 20_000}),
        ("/break", "remote_too_large", 1, {"max_bytes": 20_000}),
        ("/endless", "remote_too_large", 1, {"max_bytes": 1_000_000}),
        ("/wide.png", "remote_too_large", 1, {}),
    ],
)
def test_what_cannot_be_had_has_a_class(tmp_path, server, path, kind, times, settings):
    assert one(tmp_path, server, path, **settings) == f"{kind}:{server.url(path)}"
    assert server.asked[path] == times
    assert {file.name for file in (tmp_path / "images").rglob("*")} <= {"remote.jsonl", ".unfinished"}
    (line,) = (tmp_path / "images" / "remote.jsonl").read_text().splitlines()
    assert json.loads(line)["error"] == kind


def test_type_by_content_and_redirects(tmp_path, server):
    assert one(tmp_path, server, "/nameless") == content_path(BIG)
    assert one(tmp_path, server, "/hop/3") == content_path(IMAGES["/ok/3.jpg"])


@pytest.mark.parametrize(
    "url", ["http://", "http:///x.jpg", "https://a b/", "http://x:99999/", "http://[::1", "http://127.1/"]
)
def test_bad_urls(tmp_path, url):
    (found,), _ = fetched(tmp_path, [url], attempts=1)
    assert found.split(":")[0] in ("remote_bad_url", "remote_unavailable")


PRIVATE = ["127.0.0.1", "10.0.0.1", "172.16.9.9", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
           "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1",
           "fe80::1%eth0", "fc00::1", "fd12:3456::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
           "64:ff9b::7f00:1",
           "2002:7f00:1::", "2001:db8::1", "fec0::1"]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(OSError, match="not a public address") as refused:
        checked_socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))
    assert refused.value.errno == errno.EACCES


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "151.101.1.69", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "169.254.169.254"]
)
def test_private_hosts_are_refused_before_anything_is_sent(tmp_path, server, host):
    (found,), _ = fetched(tmp_path, [f"http://{host}:{server.port}/ok/1.jpg"], allow_private=False, attempts=3)
    assert found.split(":")[0] in ("remote_private", "remote_bad_url", "remote_unavailable")
    assert not server.asked


def test_names_and_redirects_are_judged_by_the_address_that_is_connected_to(tmp_path, server, monkeypatch):
    """The first name is public when asked, the one that the redirect leads to is not."""
    monkeypatch.setattr("curate.readers.images.download.is_public", lambda address: address == "127.0.0.1")
    hosts = ("127.0.0.2", "localhost.localdomain.invalid", "169.254.169.254", "0.0.0.0")
    for host in hosts:
        (found,), _ = fetched(tmp_path, [server.url(f"/to/{host}")], allow_private=False, attempts=1)
        assert found.split(":")[0] in ("remote_private", "remote_unavailable")
    assert set(server.asked) == {f"/to/{host}" for host in hosts}


def test_rebinding_gains_nothing(tmp_path, server, monkeypatch):
    """Whatever a name resolves to at whatever time, the socket itself is checked."""

    async def resolve(self, host, port, *args, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    (found,), _ = fetched(tmp_path, [f"http://images.example.com:{server.port}/ok/1.jpg"], allow_private=False)
    assert found.startswith("remote_private:") and not server.asked
    (found,), _ = fetched(tmp_path, [f"http://images.example.com:{server.port}/ok/1.jpg"], allow_private=True)
    assert found == content_path(IMAGES["/ok/1.jpg"])


def test_a_host_that_never_answers_is_given_up(tmp_path):
    host = f"http://127.0.0.1:{free_port()}"
    urls = [f"{host}/{number}.jpg" for number in range(300)]
    started = time.monotonic()
    found, counts = fetched(tmp_path, urls, attempts=5, backoff=0.05)
    assert {one.split(":")[0] for one in found} == {"remote_unavailable"}
    assert counts["remote_unavailable"] == 300
    assert time.monotonic() - started < 30


def test_the_next_run_asks_only_for_what_is_missing(tmp_path, server):
    urls = [server.url(path) for path in ("/ok/1.jpg", "/ok/2.jpg", "/status/404", "/500-always", "/too-large")]
    first, _ = fetched(tmp_path, urls, attempts=1, max_bytes=20_000)
    (tmp_path / first[1]).unlink()
    server.asked.clear()
    again, counts = fetched(tmp_path, urls, attempts=1, max_bytes=20_000)
    assert again == first
    assert set(server.asked) == {"/ok/2.jpg", "/500-always"}
    assert counts["known"] == 1
    server.asked.clear()
    raised, _ = fetched(tmp_path, urls, attempts=1)
    assert raised[4] == content_path(BIG)
    assert set(server.asked) == {"/500-always", "/too-large"}


def test_a_torn_journal_line_costs_that_line(tmp_path, server):
    urls = [server.url(f"/ok/{number}.jpg") for number in range(3)]
    fetched(tmp_path, urls)
    journal = tmp_path / "images" / "remote.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + b"not json\n" + lines[2][:20])
    server.asked.clear()
    fetched(tmp_path, urls)
    assert sum(server.asked.values()) == 1
    assert len([line for line in journal.read_bytes().splitlines() if line.startswith(b"{")]) == 3


def test_journal_finds_long_and_odd_urls(tmp_path):
    journal = FetchLog(tmp_path / "j.jsonl")
    urls = ["http://x/" + "a" * 9000, "http://x/ä\udc80\n", "http://x/"]
    for url in urls:
        journal.add({"url": url, "error": "remote_404", "detail": ""})
    assert [journal.find(url)["url"] for url in urls] == urls
    assert journal.find("http://y/") is None
    journal.close()


def test_rows_keep_their_order_and_their_urls(tmp_path, server):
    server.delay = 0.02
    paths = ["/status/404", "/503", *list(IMAGES)[:5], "/break"]
    samples = [Sample(str(n), (server.url(path), "local.png"), ()) for n, path in enumerate(paths)]
    samples.insert(3, Sample("text", (), ()))
    settings = RemoteSettings(allow_private=True, backoff=0.01)
    store = ImageStore(tmp_path)
    with RemoteImages(store, settings, MeasureSettings()) as images:
        rows = list(store_images(iter(samples), store, max_bytes=10**7, fetcher=images))
    assert [row.id for row in rows] == [sample.id for sample in samples]
    assert rows[0].image == (f"remote_404:{server.url('/status/404')}", "local.png")
    assert rows[0].meta["image_url"] == [server.url("/status/404"), "local.png"]
    assert rows[3] == samples[3]
    assert all((tmp_path / row.image[0]).is_file() for row in rows[1:] if row.image)


def test_mirror():
    table = {"http://a.org/": "http://m/a/", "http://a.org/deep/": "http://d/", "": ""}
    assert mirrored("http://a.org/x.jpg", table) == "http://m/a/x.jpg"
    assert mirrored("http://a.org/deep/x.jpg", table) == "http://d/x.jpg"
    assert mirrored("http://b.org/x.jpg", {"": "http://proxy/"}) == "http://proxy/http://b.org/x.jpg"


def test_a_mirror_is_asked_instead(tmp_path, server):
    (found,), _ = fetched(tmp_path, ["http://gone.invalid/1.jpg"], mirror={"http://gone.invalid/": server.url("/ok/")})
    assert found == content_path(IMAGES["/ok/1.jpg"])


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path, server):
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        fetched(tmp_path, [server.url("/ok/1.jpg")])
