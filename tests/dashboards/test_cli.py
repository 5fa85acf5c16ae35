from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dashboards import cli
from dashboards.settings import (
    BASE_VARIABLE,
    DATA_VARIABLE,
    FRAMING_VARIABLE,
    HOSTS_VARIABLE,
    IMAGE_ROOTS_VARIABLE,
    SHARED_VARIABLE,
    USER_HEADER_VARIABLE,
    address,
    allowed_hosts,
    data_root,
    framing_origins,
    moved_image_roots,
)
from tests.docs.blocks import blocks_of
from tests.processes import free_port
from winnow.errors import UserError

_PACKAGE = Path(cli.__file__).parent
_VARIABLES = (
    DATA_VARIABLE, FRAMING_VARIABLE, HOSTS_VARIABLE, BASE_VARIABLE, IMAGE_ROOTS_VARIABLE, USER_HEADER_VARIABLE,
    SHARED_VARIABLE,
)  # fmt: skip


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that would replace this process."""
    command: list[str] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: command.extend(arguments))
    for name in _VARIABLES:
        monkeypatch.setenv(name, "")  # restored afterwards
    return command


def _launch(arguments: list[str]) -> None:
    cli.app(arguments, standalone_mode=False)


def test_local_by_default_with_safe_flags(tmp_path: Path, launched: list[str]) -> None:
    port = str(free_port())
    _launch(["--data", str(tmp_path), "--port", port, "--no-browser"])
    assert launched[1:4] == ["-m", "streamlit", "run"] and launched[4].endswith("server.py")
    assert {
        "--server.address=127.0.0.1",
        f"--server.port={port}",
        "--server.headless=true",
        "--server.allowedHosts=127.0.0.1",
        "--server.allowedHosts=localhost",
        "--server.enableAgentApi=false",
        "--browser.gatherUsageStats=false",
        "--client.toolbarMode=viewer",
        "--runner.magicEnabled=false",
    } <= set(launched)
    assert data_root() == tmp_path.resolve() and allowed_hosts() == ["127.0.0.1", "localhost"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_an_address_that_others_reach_needs_a_flag(tmp_path: Path, launched: list[str], address: str) -> None:
    with pytest.raises(UserError, match="--allow-remote"):
        _launch(["--data", str(tmp_path), "--address", address])
    assert launched == []


def test_a_remote_address_hides_error_details_and_names_its_hosts(tmp_path: Path, launched: list[str]) -> None:
    _launch(
        [
            "--data",
            str(tmp_path),
            "--address",
            "0.0.0.0",
            "--allow-remote",
            "--host",
            "winnow.lan",
            "--port",
            str(free_port()),
        ]
    )
    assert "--client.showErrorDetails=type" in launched and "--server.allowedHosts=winnow.lan" in launched
    assert allowed_hosts() == ["127.0.0.1", "localhost", "winnow.lan"]


def test_all_addresses_need_a_host_name(tmp_path: Path, launched: list[str]) -> None:
    with pytest.raises(UserError, match="--host NAME"):
        _launch(["--data", str(tmp_path), "--address", "0.0.0.0", "--allow-remote"])
    assert launched == []


@pytest.mark.parametrize(
    ("given", "base"), [("/winnow", "/winnow"), ("winnow/", "/winnow"), ("/a/b-c_1.x", "/a/b-c_1.x"), ("/", "")]
)
def test_all_addresses_begin_with_the_base_path(tmp_path: Path, launched: list[str], given: str, base: str) -> None:
    _launch(["--data", str(tmp_path), "--port", str(free_port()), "--base-path", given])
    assert f"--server.baseUrlPath={base[1:]}" in launched and address("/review") == f"{base}/review"


@pytest.mark.parametrize("given", ["/a b", "/a?b", "/../x", "/a//b", "https://x.org/a", "/ü", "/a%2f", "/<b>"])
def test_a_base_path_that_is_no_path_is_refused(tmp_path: Path, launched: list[str], given: str) -> None:
    with pytest.raises(UserError, match="like /winnow"):
        _launch(["--data", str(tmp_path), "--port", str(free_port()), "--base-path", given])
    assert launched == []


def test_only_origins_may_be_allowed_to_frame(tmp_path: Path, launched: list[str]) -> None:
    here = ["--data", str(tmp_path), "--port", str(free_port())]
    origins = ["http://localhost:8888", "https://*.example.com", "vscode-webview:"]
    _launch([*here, *(word for origin in origins for word in ("--allow-framing", f"{origin.rstrip('/')}"))])
    assert framing_origins() == origins
    for wrong in (
        "*",
        "localhost:8888",
        "http://a/b",
        "http://a; script-src *",
        "http://a http://b",
        "data:",
        "'self'",
    ):
        with pytest.raises(UserError, match="--allow-framing"):
            _launch([*here, "--allow-framing", wrong])


def test_moved_images_are_named_as_old_and_new(tmp_path: Path, launched: list[str]) -> None:
    here = ["--data", str(tmp_path), "--port", str(free_port())]
    _launch([*here, "--image-root", f"/old/photos={tmp_path}", "--image-root", f"data/raw={tmp_path}"])
    assert moved_image_roots() == [(Path("/old/photos"), tmp_path), (Path("data/raw"), tmp_path)]
    for wrong in ("photos", "=x", "x=", f"/old={tmp_path}/none"):
        with pytest.raises(UserError, match="--image-root"):
            _launch([*here, "--image-root", wrong])


def test_the_commands_in_the_docs_for_teams_are_taken(tmp_path: Path, launched: list[str]) -> None:
    page = (_PACKAGE.parent / "docs" / "howto" / "team.md").read_text()
    compose = next(block.text for block in blocks_of(page) if block.title == "compose.yaml")
    shell = next(block.text for block in blocks_of(page) if block.text.startswith("dashboards"))
    for command in (yaml.safe_load(compose)["services"]["dashboards"]["command"], shell.replace("\\\n", "")):
        words = [str(tmp_path) if word in ("data", "/data") else word for word in command.split()]
        launched.clear()
        _launch([*words[1:], "--port", str(free_port())])
        assert "--server.baseUrlPath=winnow" in launched and "--server.allowedHosts=winnow.example.com" in launched


def test_missing_data_folder_and_busy_port_are_sentences(tmp_path: Path, launched: list[str]) -> None:
    with pytest.raises(UserError, match="no such folder"):
        _launch(["--data", str(tmp_path / "nope")])
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(UserError, match="choose another --port"):
            _launch(["--data", str(tmp_path), "--port", str(busy.getsockname()[1])])
    assert launched == []


def test_help_and_errors_of_the_real_command(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "dashboards", "--help"], capture_output=True, text=True, check=True)
    assert "--address" in done.stdout and "Failures" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "dashboards", "--data", str(tmp_path / "nope")], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("error:") and "Traceback" not in done.stderr


def test_pages_are_listed_in_order_and_ask_the_data_for_what_they_draw() -> None:
    """A page is one file: how the menu lists it, and what it draws; no SQL."""
    paths = [path for path in (_PACKAGE / "app_pages").glob("*.py") if path.stem != "__init__"]
    pages = [importlib.import_module(f"dashboards.app_pages.{path.stem}").PAGE for path in paths]
    assert sorted(page.place for page in pages) == list(range(1, len(pages) + 1)), "places differ and leave no gap"
    for path in paths:
        text = path.read_text()
        assert not re.search(r"\bSELECT\b|\bduckdb\b", text), path
        assert text.endswith("    show()\n"), path


def test_no_markup_from_python() -> None:
    """Nothing switches on HTML in Markdown, and the gallery's script makes no markup."""
    for path in _PACKAGE.rglob("*.py"):
        assert "unsafe_allow" not in path.read_text(), path
    script = (_PACKAGE / "review" / "gallery.js").read_text()
    assert "innerHTML" not in script and "insertAdjacentHTML" not in script and "eval(" not in script


def test_images_have_one_way_onto_a_page() -> None:
    """It adds the base path and a text for those who cannot see them."""
    images = [path for path in _PACKAGE.rglob("*.py") if "st.image(" in path.read_text()]
    assert images == [_PACKAGE / "components" / "picture.py"]
    for path in [*_PACKAGE.rglob("*.py"), *_PACKAGE.rglob("*.js")]:
        assert "/app/static" not in path.read_text() or path.parent.name == "images", path
        assert 'alt=""' not in path.read_text(), path
