"""Where the pages stand: below a path of another server, and behind a real nginx that asks for a password, in a
frame."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, Page, Route, expect

from tests.dashboards.browser import chromium, chromium_path, serving, settled
from tests.dashboards.nginx import nginx_path, proxying
from winnow.corrections import read_corrections

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[str]:
    with serving(data, "--base-path", "/winnow") as address:
        yield f"{address}/"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab that reaches what lies below /winnow/ only, as behind a proxy that forwards nothing else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    refused: list[str] = []

    def forward(route: Route) -> None:
        if urlsplit(route.request.url).path.startswith("/winnow/"):
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    opened.route("**/*", forward)
    yield opened
    context.close()
    assert refused == [], "asked for what such a proxy does not forward"


def _painted(page: Page, least: int = 1) -> None:
    """Wait until that many images of rows are there and all of them in view have loaded."""
    pictures = page.locator("img[src*='/thumb/']")
    expect(pictures.nth(least - 1)).to_be_attached()
    settled(page)
    for picture in pictures.all()[:least]:
        while True:
            try:
                picture.scroll_into_view_if_needed()
                break
            except Error as error:  # the page has drawn itself again and replaced the image
                if "not attached" not in str(error):
                    raise
        page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())


def test_cards_pictures_and_links_stay_below_the_base_path(page: Page, server: str) -> None:
    page.goto(f"{server}failures?outcome=All")
    expect(page.locator("a.card")).to_have_count(24)
    _painted(page, 24)
    address = page.locator("a.card").first.evaluate("link => link.href")
    assert address.startswith(f"{server}sample?")
    page.locator("a.card").first.click()
    expect(page).to_have_url(re.compile(f"^{re.escape(server)}sample"))
    _painted(page)
    page.reload()
    _painted(page)


@pytest.mark.parametrize("path", ["curation", "sample?id=easy_vqa/train/3"])
def test_every_kind_of_picture_is_painted(page: Page, server: str, path: str) -> None:
    page.goto(f"{server}{path}")
    _painted(page)


def test_the_address_without_its_slash(browser: Browser, server: str) -> None:
    page = browser.new_page()
    page.goto(server.removesuffix("/"))
    settled(page)
    page.get_by_role("link", name="wrong answers").first.click()
    expect(page.locator("a.card").first).to_be_visible()
    assert page.url.startswith(f"{server}failures")
    page.close()


@pytest.fixture(scope="module")
def reviewed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder into which visitors decide."""
    root = tmp_path_factory.mktemp("team")
    shutil.copytree(data / "evals", root / "evals")
    return root


@pytest.fixture(scope="module")
def proxy(reviewed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if nginx_path() is None:
        pytest.skip("no nginx here; install the Debian package nginx")
    passwords = {"ann": "secret", "bob": "word"}
    with (
        serving(reviewed, "--base-path", "/winnow", "--user-header", "X-Remote-User") as server,
        proxying(tmp_path_factory.mktemp("nginx"), server, passwords) as address,
    ):
        yield address


def _get(proxy: str, path: str, user: str = "", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    return _ask(proxy, "GET", path, user, None, headers)


def _ask(
    proxy: str, method: str, path: str, user: str, body: str | None, headers: dict[str, str]
) -> tuple[int, http.client.HTTPMessage, bytes]:
    if user:
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    connection = http.client.HTTPConnection(urlsplit(proxy).netloc)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    return answer.status, answer.headers, read


@pytest.mark.parametrize("path", ["/winnow/", "/winnow/review/queue", "/winnow/app/static/thumb/none"])
def test_nginx_lets_nobody_in_without_the_password(proxy: str, path: str) -> None:
    assert _get(proxy, path)[0] == 401
    assert _get(proxy, path, "ann:wrong")[0] == 401
    assert _get(proxy, path, "ann:secret")[0] == 200


def test_nginx_forwards_the_prefix_only(proxy: str) -> None:
    assert _get(proxy, "/failures", "ann:secret")[0] == 404
    assert _get(proxy, "/app/static/thumb/none", "ann:secret")[0] == 404
    status, headers, _ = _get(proxy, "/winnow", "ann:secret")
    assert (status, headers["location"]) == (301, "/winnow/")
    status, headers, _ = _get(proxy, "/winnow/failures/?run=demo-base", "ann:secret")
    assert (status, headers["location"]) == (301, "/winnow/failures?run=demo-base")


def test_through_nginx_a_reviewer_sees_pictures_and_decides_in_the_name_of_the_log_in(
    browser: Browser, proxy: str, reviewed: Path
) -> None:
    context = browser.new_context(
        http_credentials={"username": "ann", "password": "secret"},
        # Another name in the same header, and in the cookie: neither counts.
        extra_http_headers={"X-Remote-User": "bob"},
    )
    context.add_cookies([{"name": "winnow_reviewer", "value": "bob", "url": f"{proxy}/winnow/"}])
    page = context.new_page()
    page.goto(f"{proxy}/winnow/failures?run=demo-base&outcome=All")
    _painted(page, 6)
    page.locator("a.card").first.click()
    _painted(page)
    expect(page.get_by_text("ann", exact=True)).to_be_visible()
    assert page.get_by_role("textbox", name="Reviewer").count() == 0
    page.locator("button[aria-pressed]", has_text="Wrong reference").first.click()
    for _ in range(1800):
        if found := read_corrections(reviewed / "corrections"):
            break
        page.wait_for_timeout(100)
    assert [line.reviewer for line in found] == ["ann"]
    context.close()


def test_a_decision_sent_with_a_forged_name_is_that_of_the_log_in(proxy: str, reviewed: Path) -> None:
    row = json.loads(_get(proxy, "/winnow/review/rows?view=run%3Ddemo-base", "bob:word")[2])["rows"][0]
    line = {
        "correction_id": "0" * 32, "sample_id": row["sample_id"], "content_hash": row["content_hash"],
        "run": "demo-base", "action": "ambiguous",
    }  # fmt: skip
    sent = json.dumps({"reviewer": "ann", "lines": [line]})
    headers = {"Content-Type": "application/json", "X-Remote-User": "ann", "x-remote-user": "ann"}
    assert _ask(proxy, "POST", "/winnow/review/decisions", "bob:word", sent, headers)[0] == 200
    (written,) = [line for line in read_corrections(reviewed / "corrections") if line.correction_id == "0" * 32]
    assert written.reviewer == "bob"


class _Framing(BaseHTTPRequestHandler):
    """A page of another origin that shows, in a frame, the address behind its question mark."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f'<iframe src="{self.path.partition("?")[2]}" width=1200 height=800></iframe>'.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def notebook() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Framing) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{other.server_port}"
        other.shutdown()


def test_an_allowed_origin_may_frame_the_pages_and_reviewers_decide_there(
    browser: Browser, notebook: str, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data / "evals", tmp_path / "evals")
    other_site = notebook.replace("127.0.0.1", "localhost")
    with serving(tmp_path, "--allow-framing", notebook, "--allow-framing", other_site) as server:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{notebook}/?{server}/failures?outcome=All")
        frame = page.frame_locator("iframe")
        expect(frame.locator("a.card")).to_have_count(24)
        frame.locator("a.card").first.click()
        frame.locator("button[aria-pressed]", has_text="Wrong reference").first.click()
        for _ in range(1800):
            if found := read_corrections(tmp_path / "corrections"):
                break
            page.wait_for_timeout(100)
        assert len(found) == 1 and found[0].reviewer
        page.goto(f"{other_site}/?{server}/failures?outcome=All")
        expect(frame.locator("a.card")).to_have_count(24)
        page.close()


def test_no_other_origin_may_frame_them(browser: Browser, notebook: str, server: str) -> None:
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(f"{notebook}/?{server}failures")
    for _ in range(1800):
        if refused:
            break
        page.wait_for_timeout(100)
    assert any("frame-ancestors 'none'" in text for text in refused), refused
    assert page.frame_locator("iframe").locator("a.card").count() == 0
    page.close()
