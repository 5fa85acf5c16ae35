"""Files of the data folder that are broken or are traps: every route answers, at once and with a sentence."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dashboards.images import tiles
from dashboards.images.routes import routes
from dashboards.review.api import review_routes
from dashboards.views.exports import export_routes

ROW, ASSIGNMENT, SELECTION = "easy_vqa/test/0", "0123456789ab", "0123456789abcdef"
DEEP = b"[" * 200_000
LINE = {
    "correction_id": "a" * 32, "sample_id": ROW, "content_hash": "h", "action": "keep", "reviewer": "Anna",
    "at": "9999-12-31T23:59:59.999999Z", "run": "demo-tuned",
}  # fmt: skip
HUGE = {
    "assignment_id": ASSIGNMENT, "title": "t", "queue": f"list=assigned&name={ASSIGNMENT}", "names": ["Anna"],
    "overlap": 0.1, "seed": 10**30, "total": 10**15, "digest": "x", "made_by": "Anna",
    "made_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
Damage = Callable[[Path], object]


def _holding(data: bytes) -> Damage:
    return lambda path: path.write_bytes(data)


FAULTS: dict[str, Damage] = {
    "a folder": lambda path: path.mkdir(),
    "a link into nothing": lambda path: path.symlink_to("/nowhere/at/all"),
    "a pipe": os.mkfifo,
    "empty": _holding(b""),
    "deep": _holding(DEEP),
    "a number of 6,000 digits": _holding(b'{"old": ' + b"9" * 6_000 + b"}\n"),
    "NUL": _holding(b"\0" * 1_000 + b"\n"),
    "UTF-16": _holding("{}\n".encode("utf-16")),
    "half a character": _holding(b'{"sample_id": "\\ud800"}\n'),
    "another value": _holding(b"[1]\n"),
    "a decision of the year 9999": _holding(json.dumps(LINE).encode() + b"\n"),
    "an assignment of 10^15 rows": _holding(json.dumps(HUGE).encode()),
    "a pyramid without its tiles": _holding(
        b'{"width": 1000, "height": 1, "tile": 512, "levels": 2, "starts": [0, 9, 18, 99]}\n'
    ),
    "a pyramid of no tiles": _holding(b'{"width": 1000, "height": 1, "tile": 0, "levels": 1, "starts": []}\n'),
}


@pytest.fixture
def asked(own: Path) -> list[str]:
    """The address of everything that reads a file."""
    row = pq.read_table(own / "evals" / "demo-tuned" / "predictions.parquet").slice(0, 1).to_pylist()[0]
    image = f"evals/demo-tuned/{row['image_keys'][0]}"
    where = f"id={row['sample_id']}"
    thumbnail = image.replace("tuned/", "tuned/tile/")
    return [
        "/review/queue?view=", "/review/rows?view=", f"/review/rows?id={ROW}",
        f"/review/queue?view=list%3Dassigned%26name%3D{ASSIGNMENT}", "/review/queue?view=list%3Dconflicts",
        f"/review/queue?view=list%3Dselection%26rows%3D{SELECTION}", "/export/corrections.csv", "/export/failures.csv",
        f"/app/static/tile/{image}/info?{where}", f"/app/static/tile/{image}/0/0-0?{where}",
        f"/app/static/thumb/{thumbnail}?{where}",
    ]  # fmt: skip


def _answers(root: Path, asked: list[str]) -> dict[str, tuple[int, str]]:
    """Address → status and text; fails for what has no answer within a minute."""
    app = Starlette(routes=[*review_routes(root), *export_routes(root), *routes(root)])
    client, found = TestClient(app, base_url="http://127.0.0.1"), {}

    def ask(address: str) -> None:
        if address == "POST":
            line = {key: LINE[key] for key in ("sample_id", "content_hash", "action", "run")}
            sent = {"reviewer": "Anna", "lines": [line | {"correction_id": os.urandom(16).hex()}]}
            answer = client.post("/review/decisions", json=sent)
        else:
            answer = client.get(address)
        found[address] = (answer.status_code, answer.text)

    for address in [*asked, "POST"]:
        thread = threading.Thread(target=ask, args=[address], daemon=True)
        thread.start()
        thread.join(60)
        assert address in found, f"{address} does not answer"
    return found


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("place", ["corrections/x.jsonl", f"assignments/{ASSIGNMENT}.json",
                                   f"cache/selections/{SELECTION}.parquet", "evals/demo-base/manifest.json",
                                   "evals/demo-tuned/scores.json", "cache/tiles", "cache/thumbnails"])  # fmt: skip
def test_every_route_answers(own: Path, asked: list[str], place: str, fault: str) -> None:
    path = own / place
    if place.startswith("cache/t"):  # the file of the image that is asked for
        key = asked[-1].split("?")[0].rpartition("/")[2]
        folder = f"{tiles._EDITION}" if place == "cache/tiles" else "tile-3"
        path = path / folder / key[:2] / key
    if path.exists():
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    FAULTS[fault](path)
    for address, (status, text) in _answers(own, asked).items():
        assert status in (200, 404, 503), (address, status, text)
        assert status != 503 or "demo-tuned" in text or path.parent.name in text, (address, text)
        if place.startswith("cache"):  # what is broken is made anew
            assert status == 200, (address, text)
        if "/thumb/" in address and status == 200:
            assert text.startswith("\N{REPLACEMENT CHARACTER}PNG"), address


@pytest.mark.parametrize("place", ["cache", "corrections", "assignments"])
def test_a_file_where_a_folder_belongs(own: Path, asked: list[str], place: str) -> None:
    shutil.rmtree(own / place, ignore_errors=True)
    (own / place).write_text("x")
    answers = _answers(own, asked)
    status, text = answers.pop("POST")
    assert status == (503 if place == "corrections" else 200), text
    assert all(status == 200 for status, _ in answers.values()), answers


@pytest.mark.parametrize("number", ["9" * 5_000, "²", "-1", "1e3", "x", "1_0"])
def test_numbers_that_are_none(own: Path, asked: list[str], number: str) -> None:
    tile = next(address for address in asked if "/0/0-0" in address)
    client = TestClient(Starlette(routes=[*review_routes(own), *routes(own)]), base_url="http://127.0.0.1")
    for address in (tile.replace("/0/0-0", f"/{number}/0-0"), tile.replace("/0/0-0", f"/0/0-{number}")):
        assert client.get(address).status_code == 404
    for name in ("count", "size", "seed", "k", "value", "n", "as_of"):
        for queue in ("audit", "suspect", "nearest", "losses", "threshold"):
            view = f"list={queue}&run=demo-tuned&{name}={number}"
            assert client.get("/review/queue", params={"view": view}).status_code == 200
    for name in ("start", "count"):
        assert client.get("/review/rows", params={"view": "", name: number}).status_code == 200
