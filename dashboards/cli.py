"""The console script ``dashboards``."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from dashboards.settings import (
    BASE_VARIABLE,
    DATA_VARIABLE,
    FRAMING_VARIABLE,
    HOSTS_VARIABLE,
    IMAGE_ROOTS_VARIABLE,
    LOCAL_HOSTS,
    RUNS_VARIABLE,
    SHARED_VARIABLE,
    USER_HEADER_VARIABLE,
)
from winnow import console
from winnow.errors import UserError

_WILDCARDS = ("0.0.0.0", "::")  # all addresses of this machine; no names that a browser sends

app = console.new_app(single_command=True)


@app.command()
def dashboards(
    data: Annotated[Path, typer.Option(help="Folder that holds curated/, runs/ and evals/.")] = Path("data"),
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Port to listen on.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Permit an address that other machines can reach.")
    ] = False,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A host name by which browsers will call this server; repeat for several."),
    ] = None,
    base_path: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="The path below which a reverse proxy shows the pages, such as /winnow; all addresses begin with it.",
        ),
    ] = "",
    user_header: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Header in which your proxy names the visitor, such as X-Remote-User. The proxy must set or remove"
            " it on every request: decisions carry this name, and it cannot be typed.",
        ),
    ] = "",
    image_root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OLD=NEW",
            help="Images that were below folder OLD when a set was curated or evaluated are now below NEW; repeat for"
            " several.",
        ),
    ] = None,
    allow_runs: Annotated[
        bool,
        typer.Option(
            "--allow-runs",
            help="Let people start and stop runs on the page “Start a run”: those at this machine, or with"
            " --user-header those whom the proxy names. A run reads what you may read and computes on this machine.",
        ),
    ] = False,
    allow_framing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="An origin whose pages may show these pages in a frame, such as a notebook's http://127.0.0.1:8888;"
            " repeat for several.",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser, if this machine has one.")] = True,
) -> None:
    """Look at curated sets, training runs and evaluations in a browser.

    Review: Failures, and any other list of rows, are judged row by row with single keys; Queues lists the lists and
    splits one among reviewers, Conflicts settles what they disagree about, Corrections says what became of all
    decisions. Model: where it fails, what changed between runs, and failures that look alike. Data: what
    curation dropped and why, and what another threshold would do. “Start a run” starts the next one.

    Every filter is in the URL. On disk only these are written below DATA: corrections (one line a decision),
    assignments (split queues), views.yaml (saved views) and cache; with --allow-runs also jobs, and what the runs
    write that are started here.

    There is no log-in, and by default only this machine can connect. To show the pages to others, put a
    reverse proxy with log-in in front, or pass --address 0.0.0.0 --allow-remote --host NAME on a network
    that you trust.

    Example: dashboards --data /mnt/winnow/data --port 8600
    """
    if not data.is_dir():
        raise UserError(f"{data}: no such folder; give the folder that holds curated/, runs/ and evals/ with --data")
    if not _is_local(address) and not allow_remote:
        raise UserError(
            f"--address {address} lets other machines read all data without log-in; add --allow-remote if you want that"
        )
    if address in _WILDCARDS and not host:
        raise UserError(
            f"--address {address} needs the name by which browsers will call this server: add --host NAME;"
            " requests for other names are refused"
        )
    if user_header and not re.fullmatch(r"[A-Za-z0-9-]+", user_header):
        raise UserError(f"--user-header {user_header}: not the name of an HTTP header, such as X-Remote-User")
    _check_port(address, port)
    hosts = [*LOCAL_HOSTS, *(host or [])]
    if address not in (*_WILDCARDS, *hosts):
        hosts.append(address)
    os.environ[DATA_VARIABLE] = str(data.resolve())
    os.environ[HOSTS_VARIABLE] = ",".join(hosts)
    os.environ[FRAMING_VARIABLE] = " ".join(map(_origin, allow_framing or ()))
    os.environ[IMAGE_ROOTS_VARIABLE] = json.dumps([_moved(given) for given in image_root or ()])
    os.environ[BASE_VARIABLE] = base = _base(base_path)
    os.environ[USER_HEADER_VARIABLE] = user_header
    os.environ[RUNS_VARIABLE] = "1" if allow_runs else "0"
    os.environ[SHARED_VARIABLE] = "0" if _is_local(address) else "1"
    command = [sys.executable, "-m", "streamlit", "run", str(Path(__file__).with_name("server.py"))]
    os.execv(sys.executable, [*command, *_flags(address, port, hosts, base, browser)])


def _flags(address: str, port: int, hosts: list[str], base: str, browser: bool) -> list[str]:
    shown = next((name for name in hosts if name not in LOCAL_HOSTS), "127.0.0.1")
    flags: dict[str, str | int] = {
        "server.address": address,
        "server.port": port,
        "server.baseUrlPath": base.removeprefix("/"),
        "browser.serverAddress": shown,
        "server.showEmailPrompt": False,
        "server.enableAgentApi": False,
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "type" if not _is_local(address) else "full",
        "runner.magicEnabled": False,
    }
    if not browser:  # left out otherwise: Streamlit knows whether there is a display
        flags["server.headless"] = True
    listed = [f"--server.allowedHosts={name}" for name in hosts]
    return [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in flags.items()
    ] + listed


_BASE = re.compile(r"(/[\w.~-]*[\w~-])+", re.ASCII)


def _base(path: str) -> str:
    """The base path with a slash before it and none behind; '' for none."""
    base = f"/{path.strip('/')}" if path.strip("/") else ""
    if base and not _BASE.fullmatch(base):
        raise UserError(f"--base-path {path}: give a path like /winnow, of letters, digits and the signs - _ . ~")
    return base


# A web page's origin, or a scheme that an editor's own pages have.
_ORIGIN = re.compile(r"https?://(\*\.)?[a-z0-9.-]+(:[0-9]+)?|vscode-[a-z]+:", re.IGNORECASE)


def _origin(given: str) -> str:
    if not _ORIGIN.fullmatch(given.rstrip("/")):
        raise UserError(
            f"--allow-framing {given}: give what stands before the path of the page with the frame, such as"
            " http://localhost:8888"
        )
    return given.rstrip("/")


def _moved(given: str) -> tuple[str, str]:
    old, equals, new = given.partition("=")
    if not (old and equals and new):
        raise UserError(f"--image-root {given}: give the folder of that time and the one of today, as OLD=NEW")
    if not Path(new).is_dir():
        raise UserError(f"--image-root {given}: there is no folder {new}")
    return old, str(Path(new).resolve())


def _is_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _check_port(address: str, port: int) -> None:
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        raise UserError(f"cannot listen on {address} port {port} ({error.strerror}); choose another --port") from error


def main() -> None:
    """Entry point of the console script."""
    console.run(app)


if __name__ == "__main__":
    main()
