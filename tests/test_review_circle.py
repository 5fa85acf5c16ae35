"""The loop closes: a reviewer at the keyboard, the next curation, the next evaluation, and what they show."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from playwright.sync_api import Page, expect

from tests.dashboards.browser import chromium, chromium_path, serving, settled
from tests.loop import run
from winnow.corrections import read_corrections

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]


def press(page: Page, key: str, lines: int, folder: Path) -> None:
    """Press one key and wait until that many decisions are on disk."""
    page.keyboard.press(key)
    for _ in range(150):
        if len(read_corrections(folder)) == lines:
            settled(page)
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{key}: {len(read_corrections(folder))} lines on disk, expected {lines}")


def review(page: Page, folder: Path) -> None:
    """Tag and exclude one failure, relabel the next, drop a training row near it; the mouse is not used."""
    page.goto("/failures?run=demo-tuned&base=demo-base&task=easy_vqa")
    settled(page)
    page.locator("a.card img").first.wait_for()
    page.wait_for_timeout(1000)  # Streamlit listens to a key a moment after its button is there
    page.keyboard.press("o")
    expect(page.get_by_text("Your verdict")).to_be_visible()
    settled(page)
    press(page, "2", 1, folder)
    press(page, "w", 2, folder)
    page.keyboard.press("j")
    expect(page.get_by_text("2 of ")).to_be_visible()
    settled(page)
    page.keyboard.press("e")
    page.get_by_label("New text").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("dwg")  # letters that are keys elsewhere: typing must not decide
    page.keyboard.press("Tab")
    page.keyboard.type("seen in a test")
    page.keyboard.press("Tab")
    press(page, "Enter", 3, folder)
    page.keyboard.press("n")
    page.get_by_text("cosine").first.wait_for()
    settled(page)
    page.locator("[class*='st-key-near_'] button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**train**")
    expect(page.get_by_role("button", name="Drop")).to_be_visible()
    settled(page)
    press(page, "d", 4, folder)


@pytest.fixture
def corrections(loop: Path) -> Iterator[Path]:
    """Where the reviewer's lines land; gone afterwards, so that other tests meet the loop as it was."""
    yield loop / "corrections"
    shutil.rmtree(loop / "corrections", ignore_errors=True)


def test_a_reviewers_keys_change_the_next_round(loop: Path, corrections: Path) -> None:
    expect.set_options(timeout=60_000)
    folder = corrections
    with serving(loop) as address, chromium() as browser:
        page = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=address).new_page()
        review(page, folder)
        tagged, excluded, relabelled, dropped = read_corrections(folder)
        assert [line.action for line in (tagged, excluded, relabelled, dropped)] == [
            "tag", "exclude_from_eval", "relabel", "drop",
        ]  # fmt: skip
        assert tagged.sample_id == excluded.sample_id != relabelled.sample_id and relabelled.new == "dwg"
        assert "/train/" in dropped.sample_id and "/test/" in relabelled.sample_id

        curated = _again(loop, "curate.yaml", out=loop / "curated" / "reviewed")
        run("curate", "run", str(curated))
        report = json.loads((loop / "curated/reviewed/corrections.json").read_text())
        assert report["lines"][dropped.correction_id] == "applied"
        fates = pq.read_table(loop / "curated/reviewed/decisions.parquet").to_pandas().set_index("sample_id")
        assert tuple(fates.loc[dropped.sample_id, ["decision", "reason"]]) == ("drop", "correction")

        run("evalsuite", "run", str(_again(loop, "tuned.yaml", out=loop / "evals" / "reviewed", name="reviewed")))
        task = json.loads((loop / "evals/reviewed/scores.json").read_text())["tasks"]["easy_vqa"]
        assert task["corrected"]["counts"] == {"excluded": 1, "relabelled": 1}
        assert task["corrected"]["n"] == task["n"] - 1

        page.goto("/?run=reviewed&base=demo-tuned")
        settled(page)
        expect(page.get_by_text(f"{task['corrected']['n']:,} rows").first).to_be_visible()
        page.goto("/compare?run=reviewed&base=demo-tuned&compare_task=easy_vqa")
        settled(page)
        expect(page.get_by_text("2 rows of both runs: 0 fixed, 0 broken")).to_be_visible()


def _again(loop: Path, recipe: str, **changes: object) -> Path:
    """A recipe of the loop with another output folder and the reviewer's decisions."""
    settings = yaml.safe_load((loop.parent / recipe).read_text())
    settings |= {key: str(value) for key, value in changes.items()} | {"corrections": str(loop / "corrections")}
    target = loop.parent / f"reviewed-{recipe}"
    target.write_text(yaml.safe_dump(settings, sort_keys=False))
    return target
