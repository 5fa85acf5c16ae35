import errno
import json
import os
import threading
import time
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dashboards.data import reviews
from dashboards.data.reviews import read_decisions
from dashboards.review.api import review_routes
from dashboards.settings import USER_HEADER_VARIABLE
from winnow.corrections import read_corrections

ROW = "easy_vqa/test/0"
TRAINED = "easy_vqa/train/0"
JSON = {"Content-Type": "application/json"}


def client_of(root):
    return TestClient(Starlette(routes=review_routes(root)), base_url="http://127.0.0.1")


@pytest.fixture
def client(own):
    return client_of(own)


def line(action="keep", sample_id=ROW, run="demo-tuned", **more):
    return {
        "correction_id": uuid.uuid4().hex, "sample_id": sample_id, "content_hash": "h", "run": run, "action": action,
    } | more  # fmt: skip


def send(client, *lines, reviewer="Anna", **headers):
    return client.post("/review/decisions", json={"reviewer": reviewer, "lines": lines}, headers=headers)


def written(root):
    return [found.correction_id for found in read_corrections(root / "corrections")]


def test_decisions_are_written_once_and_in_their_order(client, own):
    lines = [line(action) for action in ("keep", "ambiguous", "exclude_from_eval")]
    first, again = send(client, *lines), send(client, *lines)
    ids = [one["correction_id"] for one in lines]
    assert first.json() == again.json() == {"written": ids, "refused": []}
    found = read_corrections(own / "corrections")
    assert [one.correction_id for one in found] == ids
    assert [one.at for one in found] == sorted({one.at for one in found})
    assert {one.reviewer for one in found} == {"Anna"}


def test_one_lock_and_one_sync_a_request(client, monkeypatch):
    calls = []
    monkeypatch.setattr(reviews.os, "fsync", lambda _: calls.append("sync"))
    real = reviews.locked
    monkeypatch.setattr(reviews, "locked", lambda *args, **more: calls.append("lock") or real(*args, **more))
    assert len(send(client, *[line() for _ in range(50)]).json()["written"]) == 50
    assert calls == ["lock", "sync"]


def test_a_line_that_is_wrong_does_not_hold_up_the_others(client, own):
    good, unknown, dropped = line(), line(sample_id="no/such/row"), line("drop")
    told = send(client, unknown, good, dropped).json()
    assert told["written"] == [good["correction_id"]] == written(own)
    assert [one["correction_id"] for one in told["refused"]] == [unknown["correction_id"], dropped["correction_id"]]
    assert "demo-tuned has no row no/such/row" in told["refused"][0]["error"]
    assert "is for training rows" in told["refused"][1]["error"]


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (line("exclude_from_eval", TRAINED, "demo"), "is for rows of an evaluation"),
        (line("keep", ROW, "../demo-tuned"), "There is no evaluation or curated set ../demo-tuned"),
        (line("keep", ROW, "demo-tuned", kind="curated"), "There is no evaluation or curated set"),
        (line("relabel"), "needs a value in 'new'"),
        (line("relabel", new="  "), "The new text is empty"),
        (line("relabel", new="x" * 20_001), "at most 100 texts of 20,000 characters"),
        (line("relabel", new=["x"] * 101), "at most 100 texts"),
        (line("relabel", new=["x" * 20_000] * 100), "at most 200,000 characters"),
        (line("keep", note="x" * 4001), "note: "),
        (line("tag", tags=["x" * 101]), "tags.0: "),
        (line("note"), "needs a text in 'note'"),
        (line("guess"), "action: "),
        (line(reviewer="Eve"), "reviewer: Extra inputs"),
        (line(at="2020-01-01T00:00:00Z"), "at: Extra inputs"),
        (line("undo", undoes="0" * 32), "no such decision on this row"),
        (line("keep", settles=["0" * 32]), "which is no decision"),
        ({"correction_id": "../../x"}, "correction_id: "),
        ({}, "correction_id: "),
    ],
)
def test_what_is_refused_and_why(client, own, sent, sentence):
    told = send(client, sent)
    assert told.status_code == 200
    assert told.json()["written"] == [] == written(own)
    assert sentence in told.json()["refused"][0]["error"]


def test_an_id_means_one_decision_for_ever(client, own):
    first = line()
    send(client, first)
    told = send(client, {**first, "action": "ambiguous"}).json()
    assert "already used" in told["refused"][0]["error"] and told["written"] == []
    both = send(client, other := line(), {**other, "action": "ambiguous"}).json()
    assert both["written"] == [other["correction_id"]] and len(both["refused"]) == 1
    assert len(written(own)) == 2


def test_only_ones_own_decision_is_taken_back(client, own):
    first = line()
    send(client, first)
    take_back = line("undo", undoes=first["correction_id"])
    assert "Only Anna can take" in send(client, take_back, reviewer="Ben").json()["refused"][0]["error"]
    elsewhere = line("undo", sample_id="easy_vqa/test/1", undoes=first["correction_id"])
    assert "no such decision" in send(client, elsewhere).json()["refused"][0]["error"]
    assert send(client, take_back, reviewer=" anna").json()["refused"] == []
    assert [one.state for one in read_decisions(own / "corrections")] == ["undone"]
    second = line("ambiguous")
    told = send(client, second, line("undo", undoes=second["correction_id"])).json()  # in one request
    assert len(told["written"]) == 2


def test_two_spellings_of_a_name_are_one_person(client, own):
    send(client, line("keep"), reviewer="Anna")
    send(client, line("ambiguous"), reviewer="  anna ")
    assert len(list((own / "corrections").glob("*.jsonl"))) == 1
    assert [one.state for one in read_decisions(own / "corrections")] == ["active", "superseded"]
    rows = client.get("/review/rows", params={"id": ROW, "reviewer": "ANNA"}).json()["rows"]
    assert [one["mine"] for one in rows[0]["decisions"]] == [True, True]


def test_without_a_name_nothing_is_written(client, own):
    told = send(client, line(), reviewer=" \n ")
    assert told.status_code == 400 and "Enter your name" in told.json()["error"]
    assert written(own) == []


def test_the_trusted_header_beats_the_body(client, own, monkeypatch):
    monkeypatch.setenv(USER_HEADER_VARIABLE, "X-User")
    send(client, line(), reviewer="Eve", **{"X-User": "Ben"})
    assert [one.reviewer for one in read_corrections(own / "corrections")] == ["Ben"]
    told = send(client, line(), reviewer="Eve")
    assert told.status_code == 403 and "named nobody" in told.json()["error"]
    assert len(written(own)) == 1


def test_a_full_disk_loses_nothing(client, own, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lines = [line(), line("ambiguous")]
    with monkeypatch.context() as broken:
        broken.setattr(reviews.os, "fsync", full)
        told = send(client, *lines)
    assert told.status_code == 503 and int(told.headers["Retry-After"]) > 0
    assert "No space left" in told.json()["error"] and written(own) == []
    assert len(send(client, *lines).json()["written"]) == 2
    assert len(written(own)) == 2


def test_a_lock_that_another_holds_is_not_waited_for_without_end(client, own, monkeypatch):
    monkeypatch.setattr(reviews, "_LONGEST_WAIT", 0.2)
    (own / "corrections").mkdir(exist_ok=True)
    held, free = threading.Event(), threading.Event()

    def hold():
        with reviews.locked(own / "corrections" / reviews._LOCK):
            held.set()
            free.wait(20)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(20)
    told = send(client, line())
    free.set()
    other.join()
    assert told.status_code == 503 and "another program is writing" in told.json()["error"]


def test_many_keys_do_not_read_the_log_again_and_again(client, own):
    send(client, *[line() for _ in range(200)])
    for _ in range(9):
        send(client, *[line() for _ in range(200)])
    started = time.process_time()
    for _ in range(20):
        assert send(client, line()).json()["refused"] == []
    assert (time.process_time() - started) / 20 < 0.075  # half of the time between two keys


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://127.0.0.1"}, 200),
        ({"Origin": "https://reviews.example", "X-Forwarded-Host": "reviews.example"}, 200),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:8000"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://["}, 403),
    ],
)
@pytest.mark.parametrize("path", ["decisions", "render"])
def test_other_sites_write_nothing(client, own, path, headers, status):
    body = {"decisions": {"reviewer": "Anna", "lines": [line()]}, "render": {"texts": ["x"]}}[path]
    told = client.post(f"/review/{path}", content=json.dumps(body), headers={**JSON, **headers})
    assert told.status_code == status
    assert len(written(own)) == (status == 200 and path == "decisions")


def test_too_much_at_once(client, own):
    assert send(client, *[line() for _ in range(201)]).status_code == 400
    assert send(client, line(note="x" * 4_000_001)).status_code == 413

    unsized = (b" " * 1_000_000 for _ in range(5))
    assert client.post("/review/decisions", content=unsized, headers=JSON).status_code == 413
    assert written(own) == []


def test_texts_are_rendered_in_their_order(client):
    told = client.post("/review/render", json={"texts": ["**a**", "<b>", ""]})
    assert told.json() == {"html": ["<p><strong>a</strong></p>\n", "<p>&lt;b&gt;</p>\n", ""]}
    assert client.post("/review/render", json={"texts": ["x"] * 49}).status_code == 400


def test_a_row_that_is_in_no_queue(client):
    (row,) = client.get("/review/rows", params={"id": TRAINED}).json()["rows"]
    assert (row["kind"], row["folder"], row["place"]) == ("curated", "demo", None)
    (row,) = client.get("/review/rows", params={"id": ROW, "view": "run=demo-base"}).json()["rows"]
    assert (row["kind"], row["folder"]) == ("evals", "demo-base")
    assert client.get("/review/rows", params={"id": "no/such/row"}).json() == {"rows": []}


def test_rows_of_a_queue(client):
    view = {"view": "run=demo-tuned&outcome=All&sort=As+stored", "reviewer": "Anna"}
    queue = client.get("/review/queue", params=view).json()
    assert (queue["total"], queue["place"], queue["left"]) == (48, 0, 48)
    first = client.get("/review/rows", params={**view, "start": 0, "count": 3}).json()["rows"]
    assert [row["place"] for row in first] == [0, 1, 2]
    assert client.get("/review/rows", params={**view, "start": 47, "count": 9999}).json()["rows"][-1]["place"] == 47
    assert client.get("/review/rows", params={**view, "start": "9" * 15}).json() == {"rows": []}
    assert client.get("/review/rows", params={**view, "count": -1}).json() == {"rows": []}


def test_a_broken_log_is_said_in_a_sentence(client, own):
    (own / "corrections").mkdir(exist_ok=True)
    (own / "corrections" / "anna.jsonl").write_text("{}\n")
    for told in (client.get("/review/rows"), client.get("/review/queue"), send(client, line())):
        assert told.status_code == 503 and "not a correction" in told.json()["error"]


_ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_FIELDS = {
    "correction_id": st.uuids().map(lambda found: found.hex) | st.text(max_size=40),
    "sample_id": st.sampled_from([ROW, TRAINED, "../x", "\0"]) | st.text(max_size=20),
    "content_hash": st.text(max_size=20),
    "run": st.sampled_from(["demo", "demo-tuned", "../demo", "/etc/passwd"]) | st.text(max_size=10),
    "action": st.sampled_from(["keep", "drop", "relabel", "tag", "note", "undo", "exclude_from_eval"]) | st.text(),
    "new": st.text(max_size=20) | st.lists(st.text(max_size=5)),
    "old": _ANY,
    "tags": st.lists(st.text(max_size=5), max_size=3),
    "note": st.text(max_size=20),
    "undoes": st.text(max_size=40),
}
_LINES = st.fixed_dictionaries({}, optional={name: made | _ANY for name, made in _FIELDS.items()})
_SAMPLES = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@_SAMPLES
@given(reviewer=st.text(max_size=30) | _ANY, lines=st.lists(_LINES | _ANY, max_size=4) | _ANY)
def test_whatever_is_sent(own, reviewer, lines):
    before = {path for path in own.rglob("*") if path.parent != own / "corrections"}
    body = json.dumps({"reviewer": reviewer, "lines": lines}).encode()
    told = client_of(own).post("/review/decisions", content=body, headers=JSON)
    assert told.status_code in (200, 400), told.text
    answer = told.json()
    assert ("error" in answer) == (told.status_code == 400)
    assert {path for path in own.rglob("*") if path.parent != own / "corrections"} - before <= {own / "corrections"}
    assert set(answer.get("written", [])) <= set(written(own))


@_SAMPLES
@given(body=st.binary(max_size=100), path=st.sampled_from(["decisions", "render"]))
def test_whatever_bytes_are_sent(own, body, path):
    told = client_of(own).post(f"/review/{path}", content=body, headers=JSON)
    assert told.status_code == 400 and told.json()["error"]


@_SAMPLES
@given(
    path=st.sampled_from(["queue", "rows"]),
    parameters=st.dictionaries(
        st.sampled_from(["view", "id", "reviewer", "start", "count", "snapshot"]),
        st.text(max_size=30)
        | st.sampled_from(["list=conflicts", "list=audit&size=x", "undecided=me&as_of=x", "run=\0"]),
    ),
)
def test_whatever_is_asked(data, path, parameters):
    told = client_of(data).get(f"/review/{path}", params=parameters)
    assert told.status_code in (200, 409), told.text
    assert isinstance(told.json(), dict)


def test_what_other_runs_said_is_asked_for_one_row(client):
    row = client.get("/review/rows", params={"id": ROW, "view": "run=demo-tuned"}).json()["rows"][0]
    assert row["others"] == 1
    asked = {"run": row["folder"], "row": row["row"], "view": "base=demo-base"}
    (said,) = client.get("/review/others", params=asked).json()["others"]
    assert said["run"] == "demo-base" and said["base"] and said["text"]
    for wrong in ({"run": "../x"}, {"row": "99999"}):
        assert client.get("/review/others", params=asked | wrong).json() == {"others": []}
