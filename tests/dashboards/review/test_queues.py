"""Queues as values, as snapshots of what was undecided, and split among reviewers."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dashboards.data.catalog import scan
from dashboards.data.reviews import append
from dashboards.people import COOKIE
from dashboards.review.api import review_routes
from dashboards.review.assignment import Assignment, new_assignment, save
from dashboards.review.entries import Entries, content_digest, ids_of
from dashboards.review.queues import LISTS, Queue, assignment_entries, entries, shared_ids
from winnow.corrections import Action, Correction

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def _decide(
    root: Path, sample_id: str, reviewer: str, action: Action = "keep", at: datetime | None = None, **more: Any
) -> str:
    name = uuid.uuid4().hex
    line = Correction(
        correction_id=name, sample_id=sample_id, content_hash="c", action=action, reviewer=reviewer,
        at=at or datetime.now(UTC), run="demo-tuned", **more,
    )  # fmt: skip
    append(root / "corrections", line)
    return name


def _ids(found: Entries) -> list[str]:
    return ids_of(found, np.arange(len(found)))


def _entries(root: Path, view: str, reviewer: str = "") -> Entries:
    return entries(scan(root), Queue.from_parameter(view), reviewer)


def _split(root: Path, view: str, names: list[str], overlap: float = 0.2) -> Assignment:
    queue = Queue.from_parameter(view).fixed()
    found = entries(scan(root), queue)
    made = new_assignment(
        queue.to_parameter(), found.title, len(found), content_digest(found), names, overlap, names[0]
    )
    save(root, made)
    return made


def test_a_queue_is_one_parameter_and_unknown_ones_are_all_answers() -> None:
    for name in LISTS:
        queue = Queue(name, (("set", "a&b=c"), ("qt", "x y"), ("qt", "é"), ("rule", "50% <b>")))
        assert Queue.from_parameter(queue.to_parameter()) == queue
    assert Queue.from_parameter("list=nope&run=x") == Queue.from_parameter(None)
    assert Queue.from_parameter("").parameters == ()


def test_undecided_leaves_out_what_was_decided(own: Path) -> None:
    everything = _ids(_entries(own, "outcome=All&task=vqa"))
    _decide(own, everything[0], "Anna")
    undone = _decide(own, everything[1], "anna ")
    _decide(own, everything[1], "anna ", "undo", undoes=undone)
    _decide(own, everything[2], "anna", "tag", tags=("format",))
    _decide(own, everything[3], "ben")

    def left(who: str, wanted: str) -> list[str]:
        return _ids(_entries(own, f"outcome=All&task=vqa&undecided={wanted}", who))

    assert left("anna", "me") == everything[1:]
    assert left(" BEN ", "me") == everything[:3] + everything[4:]
    assert left("chen", "me") == everything and left("", "me") == everything
    assert left("chen", "anyone") == [everything[1], everything[2], *everything[4:]]
    assert left("anna", "first") == [*everything[1:], everything[0]]
    assert left("anna", "nonsense") == everything


def test_a_queue_of_undecided_rows_stays_as_it_was_opened(own: Path) -> None:
    queue = Queue.from_parameter("outcome=All&task=vqa&undecided=me")
    assert queue.moves and not Queue.from_parameter("outcome=All").moves
    opened = queue.fixed()
    assert not opened.moves and opened.fixed() == opened == Queue.from_parameter(opened.to_parameter())
    before = _ids(entries(scan(own), opened, "anna"))
    first = _decide(own, before[0], "anna")
    assert _ids(entries(scan(own), opened, "anna")) == before
    assert _ids(entries(scan(own), queue, "anna")) == before[1:]
    later = queue.fixed()
    _decide(own, before[0], "anna", "undo", undoes=first)
    assert _ids(entries(scan(own), later, "anna")) == before[1:], "what was undone afterwards"
    assert _ids(entries(scan(own), queue, "anna")) == before


def test_a_moment_to_come_is_now(own: Path) -> None:
    view = f"outcome=All&task=vqa&undecided=me&as_of={(datetime.now(UTC) + timedelta(days=9)).isoformat()}"
    view = view.replace("+", "%2B")
    before = _ids(_entries(own, view, "anna"))
    _decide(own, before[0], "anna")
    assert _ids(_entries(own, view, "anna")) == before[1:]


def test_the_digest_is_of_the_rows_and_not_of_the_files(own: Path) -> None:
    views = ["outcome=All", "outcome=All&sort=As+stored", "task=vqa", "list=rule&set=demo&rule=blurry", "list=leaks"]
    digests = [content_digest(_entries(own, view)) for view in views]
    assert len(set(digests)) == len(views)
    manifest = own / "evals" / "demo-tuned" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert [content_digest(_entries(own, view)) for view in views] == digests
    path = own / "evals" / "demo-tuned" / "predictions.parquet"
    table = pd.read_parquet(path)
    table.loc[3, "sample_id"] = "easy_vqa/test/renamed"
    table.to_parquet(path)
    assert [content_digest(_entries(own, view)) == old for view, old in zip(views, digests, strict=True)] == [
        False, False, table["task"][3] != "vqa" or bool(table["accuracy_right"][3]), True, True
    ]  # fmt: skip


def test_each_reviewer_has_a_share_and_together_they_have_all(own: Path) -> None:
    made = _split(own, "outcome=All", ["Anna", "ben", "Chen"])
    whole = _ids(assignment_entries(scan(own), made))
    view = f"list=assigned&name={made.assignment_id}"
    shares = {who: _ids(_entries(own, f"{view}&who=me", who)) for who in ("anna ", "BEN", "chen")}
    assert sorted({row for share in shares.values() for row in share}) == sorted(set(whole))
    twice = shared_ids(assignment_entries(scan(own), made), made)
    assert len(twice) == round(0.2 * len(whole))
    for row in whole:
        assert sum(row in share for share in shares.values()) == (2 if row in twice else 1)
    assert all([row for row in whole if row in share] == share for share in shares.values()), "in the queue's order"
    assert _ids(_entries(own, f"{view}&who=Ben", "anna")) == shares["BEN"]
    stranger = _entries(own, f"{view}&who=me", "zoe")
    assert not len(stranger) and "zoe has no share" in stranger.problem


def test_what_is_decided_does_not_move_a_split_queue(own: Path) -> None:
    made = _split(own, "outcome=All&undecided=anyone", ["anna", "ben"])
    view = f"list=assigned&name={made.assignment_id}&who=me"
    mine = _ids(_entries(own, view, "anna"))
    for row in mine[:3]:
        _decide(own, row, "anna")
    assert _ids(_entries(own, view, "anna")) == mine
    assert _ids(_entries(own, f"{view}&undecided=me", "anna")) == mine[3:]


def test_a_split_queue_whose_rows_changed_says_so(own: Path) -> None:
    made = _split(own, "outcome=All", ["anna", "ben"])
    path = own / "evals" / "demo-tuned" / "predictions.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    found = _entries(own, f"list=assigned&name={made.assignment_id}&who=me", "anna")
    assert not len(found) and "have changed since it was split" in found.problem


def test_disagreements_are_a_queue_also_of_one_assignment(own: Path) -> None:
    made = _split(own, "outcome=All", ["anna", "ben"])
    found = assignment_entries(scan(own), made)
    twice = sorted(shared_ids(found, made))
    alone = next(row for row in _ids(found) if row not in twice)
    for number, row in enumerate([twice[0], alone, twice[1]]):
        _decide(own, row, "anna", at=LONG_AGO + timedelta(hours=number))
        _decide(own, row, "ben", "drop" if row != twice[1] else "keep", at=LONG_AGO + timedelta(hours=number))
    _decide(own, "a/row/of/elsewhere", "anna", at=LONG_AGO)
    _decide(own, "a/row/of/elsewhere", "ben", "drop", at=LONG_AGO)
    assert _ids(_entries(own, "list=conflicts")) == [alone, twice[0]], "the newest first"
    assert _ids(_entries(own, f"list=conflicts&name={made.assignment_id}")) == [twice[0]]
    opened = Queue("conflicts").fixed()
    _decide(own, alone, "ben")
    assert _ids(entries(scan(own), opened)) == [alone, twice[0]] and _ids(_entries(own, "list=conflicts")) == [twice[0]]


def _client(root: Path, who: str) -> TestClient:
    return TestClient(Starlette(routes=review_routes(root)), cookies={COOKIE: who})


def test_a_reviewer_is_blind_to_others_until_they_have_decided(own: Path) -> None:
    made = _split(own, "outcome=All&task=vqa", ["anna", "ben"], overlap=1.0)
    view = f"list=assigned&name={made.assignment_id}&who=me"
    row = _ids(_entries(own, view, "ben"))[0]
    _decide(own, row, "anna", "ambiguous", note="unclear")

    def shown(who: str, view: str = view) -> list[str]:
        rows = _client(own, who).get("/review/rows", params={"view": view, "count": 4}).json()["rows"]
        first = next(found for found in rows if found["sample_id"] == row)
        return [decision["reviewer"] for decision in first["decisions"]]

    assert shown("ben") == [] and shown("Anna") == ["anna"]
    _decide(own, row, "Ben", "tag", tags=("format",))
    assert shown("ben") == ["Ben"], "a tag is no verdict"
    _decide(own, row, "Ben", "keep")
    assert sorted(shown("ben")) == ["Ben", "Ben", "anna"]
    assert "anna" in shown("chen", "outcome=All&task=vqa"), "other queues show all"


@pytest.mark.parametrize("view", ["outcome=All", "list=rule&set=demo&rule=blurry"])
def test_rows_of_a_list_that_changed_under_the_reviewer_are_not_sent(own: Path, view: str) -> None:
    client = _client(own, "anna")
    opened = client.get("/review/queue", params={"view": view}).json()
    asked = {"view": view, "snapshot": opened["snapshot"]}
    assert len(client.get("/review/rows", params=asked).json()["rows"]) == min(opened["total"], 24)
    for path in (own / "evals" / "demo-tuned" / "predictions.parquet", own / "curated" / "demo" / "samples.parquet"):
        table = pd.read_parquet(path)
        table["sample_id"] = table["sample_id"] + "-again"
        table.to_parquet(path)
    answer = client.get("/review/rows", params=asked)
    assert answer.status_code == 409 and "have changed since you opened it" in answer.json()["error"]
    assert client.get("/review/rows", params={"view": view}).json()["rows"]


def test_the_queue_counts_what_is_left_to_the_person(own: Path) -> None:
    rows = _ids(_entries(own, "outcome=All&task=vqa"))
    for row in rows[:3]:
        _decide(own, row, "Anna")
    _decide(own, rows[3], "anna", "tag", tags=("format",))
    for who, left in (("anna", 3), ("zoe", 0)):
        told = _client(own, who).get("/review/queue", params={"view": "outcome=All&task=vqa"}).json()
        assert (told["total"], told["left"], told["place"]) == (len(rows), len(rows) - left, left)
