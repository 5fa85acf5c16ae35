"""A running dashboard and a headless Chromium, for tests and for images."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as NotInTime

from tests.processes import children, free_port, runs

_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic", "--no-first-run",
]  # fmt: skip
_LIMIT = 180_000  # milliseconds; only against waiting without an end, on a machine of which a test has a part
expect.set_options(timeout=_LIMIT)


def chromium_path() -> str | None:
    """Where Chromium is: ``$CHROMIUM``, or on the path; None if there is none.

    The headless shell, which is the same engine without a browser's windows, takes half the CPU time.
    """
    names = ("chromium-headless-shell", "chromium", "chromium-browser")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextlib.contextmanager
def serving(data: Path, *options: str) -> Iterator[str]:
    """Start the launcher on a free port; yields the address, ends the server by its own handle."""
    port = free_port()
    base = options[options.index("--base-path") + 1] if "--base-path" in options else ""
    server = started(data, port, *options)
    try:
        yield f"http://127.0.0.1:{port}{base}"
    finally:
        server.terminate()
        server.wait(120)


def started(data: Path, port: int, *options: str) -> subprocess.Popen[str]:
    """A server that answers on ``port``; whoever calls ends it."""
    base = options[options.index("--base-path") + 1] if "--base-path" in options else ""
    command = [sys.executable, "-m", "dashboards", "--data", str(data), "--port", str(port), "--no-browser", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        _wait(server, f"http://127.0.0.1:{port}{base}")
    except RuntimeError:
        server.kill()
        raise
    return server


def _wait(server: subprocess.Popen[str], address: str) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended: {server.stdout.read() if server.stdout else ''}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=10):
            return
        time.sleep(0.25)
    raise RuntimeError("the server did not answer within five minutes")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=_ARGUMENTS)
        yield browser
        browser.close()


@contextlib.contextmanager
def loaded() -> Iterator[None]:
    """The servers and browsers that this process has started get a third of the time, as on a machine that others use.

    They are stopped and go on, many times a second: to burn the time would take it from all other tests.
    """
    over = threading.Event()
    stopping = threading.Thread(target=_stop_again_and_again, args=(over,))
    stopping.start()
    try:
        yield
    finally:
        over.set()
        stopping.join()


def _stop_again_and_again(over: threading.Event) -> None:
    while not over.is_set():
        slowed = [found for found in _descendants(os.getpid()) if not runs(found, "playwright/driver")]
        for sent, seconds in ((signal.SIGSTOP, 0.06), (signal.SIGCONT, 0.03)):
            for process in slowed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, sent)
            time.sleep(seconds)


def _descendants(process: int) -> Iterator[int]:
    for child in children(process):
        yield child
        yield from _descendants(child)


def settled(page: Page) -> Page:
    """Wait until Streamlit has run the script, every image in view has loaded, and keys have their listeners."""
    app = page.get_by_test_id("stApp")
    expect(app).to_have_attribute("data-test-script-state", "notRunning")
    page.wait_for_function(_SHOWN, timeout=_LIMIT)
    return page


def choose(page: Page, label: str, option: str) -> None:
    """Choose an option of a select box. A list that a rerun of the script has closed again is opened once more."""
    wanted = page.get_by_role("option", name=option)
    settled(page)
    page.get_by_role("combobox", name=label).click()
    try:
        wanted.click(timeout=10_000)
    except NotInTime:
        settled(page)
        page.get_by_role("combobox", name=label).click()
        wanted.click()
    settled(page)


# React adds what listens to keys when it has drawn, and the browser is idle when nothing of it is left to do. Images of
# the gallery live in a shadow root; those below the fold load when scrolled to.
_SHOWN = """async () => {
  await new Promise((done) => requestIdleCallback(done, {timeout: 5000}));
  const roots = [document, ...[...document.querySelectorAll('*')].map((e) => e.shadowRoot).filter(Boolean)];
  const shown = roots.flatMap((root) => [...root.querySelectorAll('img')])
    .filter((image) => image.getBoundingClientRect().top < window.innerHeight);
  return shown.every((image) => image.complete);
}"""
