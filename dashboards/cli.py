"""The console script ``dashboards``."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from dashboards.settings import DATA_VARIABLE, HOSTS_VARIABLE, LOCAL_HOSTS
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
    browser: Annotated[bool, typer.Option(help="Open a browser, if this machine has one.")] = True,
) -> None:
    """Look at curated sets, training runs and evaluations in a browser.

    Overview, Failures and Sample show what a model got wrong and let a reviewer decide about each row with
    single keys. Slices, Compare and Training say where it fails and what changed. Curation, Thresholds and
    Duplicates say what happened to the data and what another threshold would do; Corrections lists all
    decisions. Every filter is in the URL. On disk only DATA/corrections (one line a decision) and DATA/cache
    are written.

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
    _check_port(address, port)
    hosts = [*LOCAL_HOSTS, *(host or [])]
    if address not in (*_WILDCARDS, *hosts):
        hosts.append(address)
    os.environ[DATA_VARIABLE] = str(data.resolve())
    os.environ[HOSTS_VARIABLE] = ",".join(hosts)
    command = [sys.executable, "-m", "streamlit", "run", str(Path(__file__).with_name("server.py"))]
    os.execv(sys.executable, [*command, *_flags(address, port, hosts, browser)])


def _flags(address: str, port: int, hosts: list[str], browser: bool) -> list[str]:
    shown = next((name for name in hosts if name not in LOCAL_HOSTS), "127.0.0.1")
    flags: dict[str, str | int] = {
        "server.address": address,
        "server.port": port,
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
