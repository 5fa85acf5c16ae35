"""A curation that is started from the page: checked, followed in its log, and found among the results."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.dashboards.browser import choose, chromium, chromium_path, serving, settled
from tests.dashboards.jobs.runs import curation

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]


def test_a_curation_is_started_followed_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    recipe = curation(data, "tiny").replace("name: tiny", "name: tiny # <b>mine</b>")
    with chromium() as browser:
        monkeypatch.setenv("TMPDIR", str(tmp_path))  # of the server and its runs: Chromium needs a short path
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        with serving(data, "--allow-runs") as address:
            page.goto(f"{address}/run")
            settled(page)
            choose(page, "Start from", "A recipe of my own")
            page.get_by_text("YAML", exact=True).click()
            settled(page)
            page.get_by_role("textbox", name="Recipe").fill(recipe)
            page.get_by_role("textbox", name="Recipe").press("Control+Enter")
            settled(page)
            page.get_by_role("button", name="Check").click()
            expect(page.get_by_text("ok source")).to_be_visible()
            start = page.get_by_role("button", name="Start", exact=False).last
            expect(start).to_be_enabled()
            start.click()
            expect(page.get_by_text("$ curate run")).to_be_visible()
        # The server is gone, the run is not: another server finds it, and its result.
        with serving(data, "--allow-runs") as address:
            page.goto(f"{address}/run")
            expect(page.get_by_text("kept 3, flagged 0")).to_be_visible()
            page.get_by_role("link", name="The curated set").click()
            expect(page.get_by_role("heading", name="Curation")).to_be_visible()
            settled(page)
            assert "/curation" in page.url
            expect(page.get_by_text("3 rows in → 3 kept")).to_be_visible()
