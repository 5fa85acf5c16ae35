"""Two reviewers with a share each of one queue, in a browser: every verdict lands in its own share."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from dashboards.data.catalog import scan
from dashboards.people import COOKIE
from dashboards.review.assignment import Assignment, new_assignment, save
from dashboards.review.entries import content_digest, ids_of
from dashboards.review.queues import Queue, assignment_entries, entries, shared_ids
from tests.dashboards.browser import chromium, chromium_path, serving, settled
from winnow.corrections import read_corrections

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]


def _split(root: Path, *names: str) -> Assignment:
    queue = Queue.from_parameter("list=rule&set=demo&rule=blurry")
    found = entries(scan(root), queue)
    made = new_assignment(
        queue.to_parameter(), found.title, len(found), content_digest(found), names, 1.0 / 3, names[0]
    )
    save(root, made)
    return made


def _open_as(browser: Browser, address: str, name: str) -> Page:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=address)
    context.add_cookies([{"name": COOKIE, "value": quote(name), "url": address}])
    page = context.new_page()
    page.goto("/queues")
    return settled(page)


def _ids(root: Path, name: str) -> list[str]:
    return [line.sample_id for line in read_corrections(root / "corrections") if line.reviewer == name]


def _drop_all(page: Page, root: Path, name: str, count: int, other: str) -> None:
    """Drop ``count`` rows of the queue on the screen, which goes on by itself, without reading what another said."""
    for done in range(count):
        expect(page.get_by_text(re.compile(rf"^{done + 1} of {count} in "))).to_be_visible()
        assert other not in page.locator(".panel").inner_text()
        page.keyboard.press("d")
    end = time.monotonic() + 60
    while len(_ids(root, name)) < count and time.monotonic() < end:
        time.sleep(0.05)


def test_two_reviewers_work_on_their_own_shares(own: Path) -> None:
    made = _split(own, "anna", "ben")
    found = assignment_entries(scan(own), made)
    twice = shared_ids(found, made)
    with serving(own) as address, chromium() as browser:
        for name in ("anna", "ben"):
            share = ids_of(found, made.share(name))
            page = _open_as(browser, address, name)
            expect(page.get_by_text(f"{name} 0 of {len(share)}, {len(share)} left")).to_be_visible()
            page.get_by_role("button", name="My queue").click()
            settled(page)
            expect(page.locator(".panel img").first).to_be_visible()
            _drop_all(page, own, name, len(share), "anna" if name == "ben" else "ben")
            assert _ids(own, name) == share
            page.context.close()
        page = _open_as(browser, address, "Ben ")
        expect(page.get_by_text(f"{len(twice)} rows are judged by two · anna and ben")).to_be_visible()
        left = f"anna {len(made.share('anna'))} of {len(made.share('anna'))}, 0 left"
        expect(page.get_by_text(left)).to_be_visible()
        page.goto(f"/sample?id={quote(min(twice))}&view={quote('list=rule&set=demo&rule=blurry')}")
        expect(settled(page).locator(".panel").get_by_text("anna").first).to_be_visible()


def test_keys_go_to_the_review_after_a_name_was_entered(own: Path) -> None:
    with serving(own) as address, chromium() as browser:
        page = _open_as(browser, address, "anna")
        page.goto("/sample")
        expect(settled(page).locator(".panel img").first).to_be_visible()
        box = page.get_by_role("textbox", name="Reviewer")
        box.fill("ben")
        box.press("Enter")
        expect(box).not_to_be_focused()
        for key in "gwa":
            page.keyboard.press(key)
            page.wait_for_timeout(1500)  # longer than the pause after which the rest of the page follows
        end = time.monotonic() + 60
        while len(_ids(own, "ben")) < 3 and time.monotonic() < end:
            time.sleep(0.05)
        wrong = entries(scan(own), Queue.from_parameter("run=demo-tuned&base=demo-base"))
        assert _ids(own, "ben") == ids_of(wrong, np.arange(3)) and box.input_value() == "ben"
