"""A real nginx before a dashboard, with the configuration that the docs give."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.docs.blocks import blocks_of
from tests.processes import free_port

_TEAM = Path(__file__).parents[2] / "docs" / "howto" / "team.md"
# What a service of the system has around the file; here nothing is written outside ``folder``. Started by root, its
# workers would be another user, who cannot read a test's folder; started by anyone else, ``user`` says nothing.
_AROUND = """
daemon off; user root root; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {servers}
}}
"""


def nginx_path() -> str | None:
    """Where nginx is; Debian keeps it off the path of users."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@contextlib.contextmanager
def proxying(folder: Path, server: str, passwords: Mapping[str, str]) -> Iterator[str]:
    """Start nginx in ``folder`` before the dashboard at ``server`` (``http://host:port/path``); yields its address.

    Args:
        passwords: user → password of basic authentication.
    """
    port = free_port()
    (block,) = (block for block in blocks_of(_TEAM.read_text()) if block.title == "winnow.conf")
    upstream = server.removesuffix("/winnow")
    changed = {
        "listen 80;": f"listen 127.0.0.1:{port};",
        "/etc/nginx/winnow.htpasswd": str(folder / "passwords"),
        "http://127.0.0.1:8501": upstream,
    }
    servers = block.text
    for written, here in changed.items():
        assert written in servers, f"the docs no longer have {written}"
        servers = servers.replace(written, here)
    (folder / "passwords").write_text("".join(f"{user}:{{PLAIN}}{word}\n" for user, word in passwords.items()))
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, servers=servers))
    command = [nginx_path() or "nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(120)


def _wait(process: subprocess.Popen[str], port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"nginx ended: {process.stdout.read() if process.stdout else ''}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
            return
        time.sleep(0.1)
    raise RuntimeError("nginx did not answer within two minutes")
