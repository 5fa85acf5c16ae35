"""Answers are never chosen by what they say: kept as they came, asked again only when the user wants it."""

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from unruly import served_recipe, served_task, unruly_server

from evalsuite.backends import sender
from evalsuite.runs.finish import rescore
from evalsuite.runs.run import run_recipe
from winnow.errors import UserError


def statuses(out: Path) -> dict[str, str]:
    return {row["question"]: row["status"] for row in pq.read_table(out / "predictions.parquet").to_pylist()}


def test_a_moody_server_gives_the_same_score_every_time(tmp_path: Path) -> None:
    task = served_task(tmp_path / "data", [f"moody {n}" for n in range(40)], "kind: choice, choices: [red]")
    with unruly_server() as server:
        server.moods = random.Random(0)
        path = served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out")
        _, first, _ = run_recipe(path)
        assert 0 < first["tasks"]["served"]["metrics"]["accuracy"]["value"] < 1
        for _ in range(3):
            _, scores, worked = run_recipe(path)
            assert scores == first and not worked
        assert len(server.asked) == 40
        assert first["again"] is None


def test_asking_again_is_recorded_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_FIRST_WAIT", 0.02)
    questions = [f"moody {n}" for n in range(40)] + ["endless", "filtered", "long"]
    task, out = served_task(tmp_path / "data", questions, "kind: choice, choices: [red]"), tmp_path / "out"
    with unruly_server() as server:
        server.moods = random.Random(0)
        path = served_recipe(tmp_path / "r.yaml", server.url, task, out, max_attempts=2)
        run_recipe(path)
        unread = [question for question, status in statuses(out).items() if status == "unparsed"]
        assert 5 < len(unread) < 35
        server.asked.clear()
        _, scores, _ = run_recipe(path, again=["unparsed"])
        assert sorted(server.questions) == sorted(unread), "rows of other statuses stay as they are"
        again = scores["again"]
        assert (again["requests"], again["replies"], again["statuses"]) == (
            len(unread),
            len(unread),
            {"unparsed": len(unread)},
        )
        assert (
            again["since"][:2] == "20" and json.loads((out / "manifest.json").read_text())["findings"]["again"] == again
        )
        replaced = [json.loads(line) for line in (out / "replaced.jsonl").read_text().splitlines()]
        assert {entry["raw"] for entry in replaced} == {"hard to see"} and len(replaced) == len(unread)
        server.asked.clear()
        left = sum(status == "unparsed" for status in statuses(out).values())
        _, scores, _ = run_recipe(path, again=["unparsed", "refused", "failed", "truncated"])
        assert sorted(server.questions)[:3] == ["endless", "filtered", "long"] and len(server.asked) == left + 3
        assert scores["again"]["requests"] == len(unread) + 3 and scores["again"]["replies"] == len(unread) + left + 3
        assert run_recipe(path)[1]["again"] == scores["again"], "a later run still says so"
        assert rescore(out, [])["again"] == scores["again"]
        before = statuses(out)
        server.down_after = 0
        run_recipe(path, again=["refused"])
        assert statuses(out) == before, "an answer is not lost to a failure"
    with pytest.raises(UserError, match="does not answer, so nothing can be asked again"):
        run_recipe(path, again=["unparsed"])


def test_again_is_refused_for_a_model_that_would_say_the_same(tmp_path: Path, tiny_vlm: Path, tiny_task: Path) -> None:
    from tiny import recipe_text

    path = tmp_path / "r.yaml"
    path.write_text(recipe_text("one", tmp_path / "out", tiny_vlm, tiny_task))
    with pytest.raises(UserError, match="--again is for servers"):
        run_recipe(path, again=["unparsed"])
