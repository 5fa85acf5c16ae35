"""A reviewer's day: two people judge a queue at speed, a third settles, and the next round takes in what they said."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from zlib import crc32

import pandas as pd
import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

import dashboards
from dashboards.data.catalog import scan
from dashboards.review.assignment import Assignment, read_assignments
from dashboards.review.entries import ids_of
from dashboards.review.queues import assignment_entries, shared_ids
from tests.dashboards.browser import choose, chromium, chromium_path, loaded, serving, settled
from tests.evalsuite.judge.scripted import scripted
from tests.loop import run
from winnow.corrections import Correction, read_corrections

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="no Chromium here; install it, or name one in $CHROMIUM"),
]

_RUN = "guesses"
_EACH = 60  # verdicts of each reviewer at speed
_PACE = 150  # milliseconds between two keys
_DISPUTED = 4  # rows on which the two disagree
Said = dict[str, tuple[str, list[str] | None]]  # sample_id → what counts in the end, and new references
_ACTIONS = {"g": "keep", "a": "ambiguous", "w": "exclude_from_eval"}
_WORDS = {"keep": "right as it stands", "exclude_from_eval": "wrong reference", "relabel": "another answer"}


def _guess(question: str) -> str:
    """What the model behind the server says: about half of it is right."""
    answers = ("yes", "no") if re.match(r"(is|does|are|do)\b", question) else ("red", "blue", "circle", "triangle")
    return answers[crc32(question.encode()) % len(answers)]


@pytest.fixture
def guesses(loop: Path) -> Iterator[Path]:
    """The recipe of one more evaluation of the loop's questions, run once; the day's files go afterwards."""
    recipe = loop.parent / "guesses.yaml"
    with scripted(_guess) as server:
        settings = {
            "name": _RUN, "server": {"url": server.url}, "tasks": [str(loop.parent / "easy_vqa.yaml")], "limit": 120,
            "corrections": str(loop / "corrections"), "out": str(loop / "evals" / _RUN),
        }  # fmt: skip
        recipe.write_text(yaml.safe_dump(settings))
        run("evalsuite", "run", str(recipe))
    yield recipe
    for folder in ("corrections", "assignments", f"evals/{_RUN}", "curated/reviewed"):
        shutil.rmtree(loop / folder, ignore_errors=True)


def _predictions(loop: Path) -> pd.DataFrame:
    return pd.read_parquet(loop / "evals" / _RUN / "predictions.parquet").set_index("sample_id")


def _scores(loop: Path) -> dict:
    return json.loads((loop / "evals" / _RUN / "scores.json").read_text())["tasks"]["easy_vqa"]


def _person(browser: Browser, address: str, name: str, width: int = 1440, height: int = 900) -> Page:
    """The queues page of a person who typed their name and came back."""
    page = browser.new_context(viewport={"width": width, "height": height}, base_url=address).new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"/queues?run={_RUN}")
    settled(page)
    box = page.get_by_label("Reviewer", exact=True)
    box.fill(name)
    box.press("Enter")
    page.wait_for_function("name => document.cookie.includes(name)", arg=name)
    page.reload()
    settled(page)
    expect(box).to_have_value(name)
    return page


def _split(page: Page) -> None:
    page.get_by_text("Split a queue among reviewers").click()
    choose(page, "Queue", "Audit: a random sample")
    page.get_by_label("Reviewers", exact=True).fill("Anna, Ben")
    page.get_by_role("button", name="Split", exact=True).click()
    expect(page.get_by_text("Anna 0 of ")).to_be_visible()


@dataclass(frozen=True)
class Plan:
    """What a reviewer does with the first rows of their share: id → key, in order."""

    name: str
    keys: dict[str, str]


def _plans(loop: Path, made: Assignment) -> tuple[Plan, Plan]:
    """The verdicts of both; they differ on some of the rows that both get to."""
    found = assignment_entries(scan(loop), made)
    shares = [ids_of(found, made.share(name))[:_EACH] for name in ("Anna", "Ben")]
    both = [row for row in shares[0] if row in shares[1]]
    assert len(both) >= _DISPUTED and set(both) <= shared_ids(found, made)
    anna = {row: "gwa"[place % 3] for place, row in enumerate(shares[0])}
    ben = {row: anna.get(row, "wgg"[place % 3]) for place, row in enumerate(shares[1])}
    ben |= {row: "wag"["gwa".index(anna[row])] for row in both[:_DISPUTED]}
    return Plan("Anna", anna), Plan("Ben", ben)


def _judge_at_speed(anna: Page, ben: Page, plans: tuple[Plan, Plan]) -> None:
    """Anna presses J after each verdict, Ben lets the page go on; nobody waits for anything."""
    for page in (anna, ben):
        page.get_by_role("button", name="My queue").click()
        expect(page.get_by_text(" in this view")).to_have_text(re.compile("^1 of "))
    keys = [key for verdict in plans[0].keys.values() for key in (verdict, "j")]
    for first, second in zip_longest(keys, plans[1].keys.values()):
        anna.keyboard.press(first)
        if second:
            ben.keyboard.press(second)
        anna.wait_for_timeout(_PACE)


def _lines(page: Page, loop: Path, name: str, count: int) -> list[Correction]:
    """The lines of a person, once that many are on disk."""
    found: list[Correction] = []
    for _ in range(1800):
        found = [line for line in read_corrections(loop / "corrections") if line.reviewer == name]
        if len(found) >= count:
            break
        page.wait_for_timeout(100)
    assert len(found) == count
    return found


def _assert_as_planned(lines: Sequence[Correction], plan: Plan, rows: pd.DataFrame) -> None:
    assert [(line.sample_id, line.action) for line in lines] == [(row, _ACTIONS[key]) for row, key in plan.keys.items()]
    assert [line.content_hash for line in lines] == list(rows.loc[list(plan.keys)].content_hash)
    assert {line.run for line in lines} == {_RUN}


def _edit_one(page: Page, loop: Path, made: Assignment, rows: pd.DataFrame) -> tuple[str, list[str]]:
    """Anna gives the next row that is hers alone two other references; returns its id and them."""
    found = assignment_entries(scan(loop), made)
    ahead = ids_of(found, made.share("Anna"))[_EACH:]
    steps = next(place for place, row in enumerate(ahead) if row not in shared_ids(found, made))
    row = ahead[steps]
    for place in range(steps):
        expect(page.get_by_text(" in this view")).to_have_text(re.compile(f"^{_EACH + 1 + place} of "))
        page.keyboard.press("j")
    expect(page.get_by_text(" in this view")).to_have_text(re.compile(f"^{_EACH + 1 + steps} of "))
    said = rows.loc[row].extracted
    new = ["purple", "mauve" if rows.loc[row].accuracy else said]  # a right answer becomes wrong, a wrong one right
    page.keyboard.press("e")
    expect(page.get_by_label("Reference 1", exact=True)).to_be_focused()
    page.keyboard.type(new[0])  # letters that are keys elsewhere
    page.get_by_role("button", name="Add a reference").click()
    page.keyboard.type(new[1])
    page.get_by_label("Note on the edit").fill("looked twice")
    expect(page.get_by_label("What changes")).to_contain_text("purple")
    page.keyboard.press("ControlOrMeta+Enter")
    line = _lines(page, loop, "Anna", _EACH + 1)[-1]
    assert (line.sample_id, line.action, line.new, line.note) == (row, "relabel", new, "looked twice")
    return row, new


def _drop_near(page: Page, loop: Path) -> Correction:
    """Anna drops the training row nearest to the one on the screen."""
    page.keyboard.press("n")
    page.get_by_text("cosine").first.wait_for()
    settled(page)
    page.locator("[class*='st-key-near_'] button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**train**")
    expect(page.get_by_role("button", name="Drop")).to_be_enabled()
    page.keyboard.press("d")
    line = _lines(page, loop, "Anna", _EACH + 2)[-1]
    assert line.action == "drop" and "/train/" in line.sample_id
    return line


def _settle(page: Page, loop: Path, plans: tuple[Plan, Plan]) -> Said:
    """Carla settles every conflict, each in another way; returns id → action and new references."""
    page.goto("/conflicts")
    said: Said = {}
    for number in range(_DISPUTED):
        expect(page.get_by_text(f"{number} of {_DISPUTED} settled")).to_be_visible()
        settled(page)
        row = page.get_by_role("button", name="easy_vqa/test/").inner_text()
        first = page.locator("[class*='st-key-agree_'] button").first.inner_text()
        assert {"Anna", "Ben"} >= {first.split()[2]}
        anna, ben = (_ACTIONS[plan.keys[row]] for plan in plans)
        if number == 0:
            page.keyboard.press("1")
            said[row] = (anna if "Anna" in first else ben, None)
        elif number == 1:
            page.get_by_role("button", name="Agree with Ben").click()
            said[row] = (ben, None)
        elif number == 2:
            page.get_by_label("Another answer").fill("purple")
            page.get_by_label("Note", exact=True).fill("seen by three")
            page.get_by_role("button", name="Settle with another answer").click()
            said[row] = ("relabel", ["purple"])
        else:
            page.get_by_role("button", name="Agree with Anna").click()
            said[row] = (anna, None)
    expect(page.get_by_text(f"All {_DISPUTED} conflicts are settled")).to_be_visible()
    lines = _lines(page, loop, "Carla", _DISPUTED)
    assert [(line.sample_id, line.action) for line in lines] == [(row, action) for row, (action, _) in said.items()]
    return said


def _naive(rows: pd.DataFrame, said: Said) -> tuple[float, int, Counter[str], dict[str, int]]:
    """The corrected accuracy, one row after another: its value, its rows, rows by what was said, right and wrong."""
    kept, counts, answers = [], Counter[str](), {"right": 0, "wrong": 0}
    for row, values in rows.iterrows():
        action, new = said.get(str(row), ("", None))
        if action:
            counts[action] += 1
            answers["right" if values.accuracy == 1 else "wrong"] += 1
        if action in ("exclude_from_eval", "ambiguous"):
            continue
        kept.append(float(values.extracted in new) if new else values.accuracy)
    return sum(kept) / len(kept), len(kept), counts, answers


def _next_round(loop: Path, recipe: Path) -> None:
    """Curate and evaluate again, as the page of corrections says; no model has to answer for it."""
    settings = yaml.safe_load((loop.parent / "curate.yaml").read_text()) | {"out": str(loop / "curated" / "reviewed")}
    curate = loop.parent / "curate-reviewed.yaml"
    curate.write_text(yaml.safe_dump(settings, sort_keys=False))
    run("curate", "run", str(curate))
    run("evalsuite", "run", str(recipe))


def _download(page: Page, button: str) -> bytes:
    with page.expect_download() as found:
        page.get_by_text(button).click()
    return Path(found.value.path()).read_bytes()


def test_the_day_of_two_reviewers_changes_the_next_round(loop: Path, guesses: Path) -> None:
    rows, before = _predictions(loop), _scores(loop)
    assert before["metrics"]["accuracy"]["value"] == pytest.approx(rows.accuracy.mean())
    assert 0.2 < rows.accuracy.mean() < 0.8 and before["corrected"] is None
    with serving(loop) as address, chromium() as browser:
        carla = _person(browser, address, "Carla")
        _split(carla)
        (made,), problems = read_assignments(loop)
        assert problems == [] and (made.names, made.made_by, made.total) == (("Anna", "Ben"), "Carla", len(rows))
        plans = _plans(loop, made)
        anna, ben = _person(browser, address, "Anna", 1280, 720), _person(browser, address, "Ben")
        with loaded():
            _judge_at_speed(anna, ben, plans)
            for page, plan in zip((anna, ben), plans, strict=True):
                _assert_as_planned(_lines(page, loop, plan.name, _EACH), plan, rows)
        for page, plan in zip((anna, ben), plans, strict=True):
            share = len(made.share(plan.name))
            wanted = f"{_EACH + 1} of {share} in this view, {share - _EACH} left to you"
            expect(page.get_by_text(" in this view")).to_have_text(wanted)
        said: Said = {row: (_ACTIONS[key], None) for plan in plans for row, key in plan.keys.items()}
        edited, references = _edit_one(anna, loop, made, rows)
        dropped = _drop_near(anna, loop)

        carla.goto(f"/queues?run={_RUN}")
        share = len(made.share("Ben"))
        expect(carla.get_by_text(f"Ben {_EACH} of {share}, {share - _EACH} left")).to_be_visible()
        expect(carla.get_by_role("button", name=f"Settle {_DISPUTED} disagreements")).to_be_visible()
        said |= _settle(carla, loop, plans) | {edited: ("relabel", references)}

        carla.goto("/corrections")
        settled(carla)
        exported = [json.loads(line) for line in _download(carla, "Export all lines (JSONL)").splitlines()]
        assert len(exported) == len({line["correction_id"] for line in exported}) == 2 * _EACH + 2 + _DISPUTED

        _next_round(loop, guesses)
        value, n, counts, answers = _naive(rows, said)
        after = _scores(loop)
        assert after["metrics"] == before["metrics"]
        corrected = after["corrected"]
        assert corrected["n"] == n and corrected["metrics"]["accuracy"]["value"] == pytest.approx(value)
        assert corrected["answers"] == answers
        assert corrected["counts"] == {
            "ambiguous": counts["ambiguous"], "confirmed": counts["keep"], "excluded": counts["exclude_from_eval"],
            "relabelled": counts["relabel"],
        }  # fmt: skip
        fates = pd.read_parquet(loop / "curated/reviewed/decisions.parquet").set_index("sample_id")
        assert tuple(fates.loc[dropped.sample_id, ["decision", "reason"]]) == ("drop", "correction")

        carla.goto(f"/?run={_RUN}")
        settled(carla)
        expect(carla.get_by_text(re.compile(rf"^corrected {100 * value:.1f}% \(.*%\), {n} rows$"))).to_be_visible()
        expect(carla.get_by_text("which can only improve the score")).to_have_count(0)
        carla.goto("/corrections")
        settled(carla)
        _assert_what_became(dashboards.load_view(loop, "corrections"), said, dropped)


def _assert_what_became(listed: pd.DataFrame, said: Said, dropped: Correction) -> None:
    """Every line counts as its row was decided in the end, or was settled by Carla's."""
    for line in listed.to_dict("records"):
        action = said[line["Sample"]][0] if line["Sample"] in said else "drop"
        wanted = "applied" if line["Decision"] == _WORDS.get(action, action) else "settled"
        where = "by curation" if line["Sample"] == dropped.sample_id else f"in {_RUN}"
        assert line["What became of it"] == f"{wanted} {where}", line
