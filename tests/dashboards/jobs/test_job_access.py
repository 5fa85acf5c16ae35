from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.jobs import requests
from dashboards.jobs.access import Visitor, refusal, visitor_of
from dashboards.jobs.concerns import concerns
from dashboards.jobs.recipe_text import text_of
from dashboards.jobs.store import all_jobs, find_job
from dashboards.settings import RUNS_VARIABLE, SHARED_VARIABLE, USER_HEADER_VARIABLE
from tests.dashboards.jobs.runs import ANN, put
from winnow.errors import UserError

LOCAL = {"Host": "127.0.0.1:8501", "Origin": "http://127.0.0.1:8501"}
BOB, NOBODY = Visitor("bob", "named"), Visitor("eve", "unknown")


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """A server on 127.0.0.1 with --allow-runs; sets what else it was started with."""
    monkeypatch.setenv(RUNS_VARIABLE, "1")
    monkeypatch.setenv(SHARED_VARIABLE, "0")
    monkeypatch.setenv(USER_HEADER_VARIABLE, "")
    monkeypatch.setattr(requests, "ensure_workers", lambda root: None)
    return monkeypatch.setenv


def test_a_browser_on_this_machine_may() -> None:
    for headers in (LOCAL, {"host": "localhost"}, {"HOST": "LOCALHOST:1", "origin": "http://localhost:1"}):
        for address in (None, "127.0.0.1", "::1"):
            who = visitor_of(headers, {"winnow_reviewer": "ann"}, address)
            assert who == ANN and refusal(who) == ""


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({**LOCAL, "X-Forwarded-For": "1.2.3.4"}, None),
        ({**LOCAL, "forwarded": "for=1.2.3.4"}, None),
        ({**LOCAL, "X-Real-IP": "127.0.0.1"}, None),
        ({**LOCAL, "Via": "1.1 proxy"}, None),
        ({**LOCAL, "Origin": "https://team.example"}, None),  # a proxy that tells nothing else
        ({**LOCAL, "Host": "team.example"}, None),
        ({}, None),
        (LOCAL, "192.168.1.5"),
        (LOCAL, "no address"),
    ],
)
def test_whoever_may_come_from_elsewhere_may_not(headers: dict[str, str], address: str | None) -> None:
    assert "read-only for you" in refusal(visitor_of(headers, {}, address))


def test_without_the_option_nobody_may(server: Callable[[str, str], None]) -> None:
    server(RUNS_VARIABLE, "0")
    assert "--allow-runs" in refusal(ANN) and "--allow-runs" in refusal(BOB)


def test_a_server_that_others_reach_asks_for_a_name(server: Callable[[str, str], None]) -> None:
    server(SHARED_VARIABLE, "1")
    assert "--user-header" in refusal(visitor_of(LOCAL, {}, None))


def test_with_a_proxy_only_its_name_counts(server: Callable[[str, str], None]) -> None:
    server(USER_HEADER_VARIABLE, "X-Remote-User")
    assert visitor_of({**LOCAL, "x-remote-user": "bob"}, {"winnow_reviewer": "eve"}, None) == BOB
    assert "did not name you" in refusal(visitor_of(LOCAL, {"winnow_reviewer": "eve"}, None))
    assert refusal(BOB) == ""


def test_the_job_layer_itself_refuses(tmp_path: Path) -> None:
    job = put(tmp_path, "name: a\nsources: [{location: x}]\n", "a", "run")
    for ask in (
        lambda: requests.submit(tmp_path, "curate", "run", "name: a\nsources: [{location: x}]\n", NOBODY),
        lambda: requests.stop(tmp_path, job.id, NOBODY),
        lambda: requests.go_on(tmp_path, job.id, NOBODY),
    ):
        with pytest.raises(UserError, match="read-only"):
            ask()
    assert all_jobs(tmp_path, "run") == [job]


def _recipe(stage: str, root: Path, **more: object) -> str:
    kind, values = {
        "curate": ("curated", {"sources": [{"location": "x"}]}),
        "finetune": ("runs", {"model": "m", "data": "d"}),
        "evalsuite": ("evals", {"model": {"path": "m"}, "tasks": ["pope"]}),
    }[stage]
    given = {"name": "a", "out": str(root / kind / "a"), **values, **more}
    return text_of({key: value for key, value in given.items() if value is not None})


@pytest.mark.parametrize("stage", ["curate", "finetune", "evalsuite"])
def test_plain_recipes_are_for_everybody(tmp_path: Path, stage: str) -> None:
    text = _recipe(stage, tmp_path)
    assert concerns(requests.read_recipe(stage, text), tmp_path, tmp_path) == []  # type: ignore[arg-type]
    job = requests.submit(tmp_path, stage, "run", text, BOB)  # type: ignore[arg-type]
    assert (job.state, job.by, job.name) == ("waiting", "bob", "a")
    assert Path(job.result).parent.parent == tmp_path


@pytest.mark.parametrize(
    ("stage", "more", "says"),
    [
        ("evalsuite", {"allow_code": True}, "allow_code: runs the Python code"),
        ("curate", {"out": "/elsewhere"}, "out: writes to /elsewhere"),
        ("finetune", {"out": "ROOT/runs/../../x"}, "out: writes to"),
        ("evalsuite", {"out": "ROOT/jobs/x"}, "out: writes to"),
        ("curate", {"exports": [{"to": "trl", "out": "/elsewhere"}]}, "exports: writes to /elsewhere"),
        ("evalsuite", {"model": None, "server": {"url": "https://api.example/v1"}}, "sends the key in $OPENAI_API_KEY"),
        (
            "evalsuite",
            {"judge": {"server": {"url": "http://10.0.0.1/v1", "api_key_env": "OTHER_KEY"}}},
            "judge.server: sends the key in $OTHER_KEY of this machine to 10.0.0.1",
        ),
    ],
)
def test_what_reaches_beyond_is_shown_and_only_for_people_at_this_machine(
    tmp_path: Path, server: Callable[[str, str], None], stage: str, more: dict[str, object], says: str
) -> None:
    server("OPENAI_API_KEY", "secret")
    server("OTHER_KEY", "secret")
    text = _recipe(stage, tmp_path, **more).replace("ROOT", str(tmp_path))
    found = concerns(requests.read_recipe(stage, text), tmp_path, tmp_path)  # type: ignore[arg-type]
    assert len(found) == 1 and says in found[0]
    with pytest.raises(UserError, match="Only somebody at the server's own machine may start that"):
        requests.submit(tmp_path, stage, "check", text, BOB)  # type: ignore[arg-type]
    assert all_jobs(tmp_path, "check") == []
    job = requests.submit(tmp_path, stage, "run", text, ANN)  # type: ignore[arg-type]
    requests.stop(tmp_path, job.id, BOB)
    with pytest.raises(UserError, match="Only somebody"):
        requests.go_on(tmp_path, job.id, BOB)
    stopped = find_job(tmp_path, job.id)
    assert stopped and stopped.state == "stopped"


def test_only_options_of_the_stage_are_taken(tmp_path: Path) -> None:
    text = _recipe("finetune", tmp_path)
    assert requests.submit(tmp_path, "finetune", "run", text, ANN, ("fresh", "ddp")).options == ("fresh", "ddp")
    with pytest.raises(UserError, match="ddp and zero2 are two ways"):
        requests.submit(tmp_path, "finetune", "run", text, ANN, ("ddp", "zero2"))
    with pytest.raises(UserError, match="curate has no option fresh"):
        requests.submit(tmp_path, "curate", "run", _recipe("curate", tmp_path), ANN, ("fresh",))


def test_no_key_is_sent_where_there_is_none_or_to_this_machine(
    tmp_path: Path, server: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    away = _recipe("evalsuite", tmp_path, model=None, server={"url": "https://api.example/v1"})
    assert concerns(requests.read_recipe("evalsuite", away), tmp_path, tmp_path) == []
    server("OPENAI_API_KEY", "secret")
    here = _recipe("evalsuite", tmp_path, model=None, server={"url": "http://localhost:8000/v1"})
    assert concerns(requests.read_recipe("evalsuite", here), tmp_path, tmp_path) == []


def test_a_link_does_not_lead_out_of_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data" / "runs").mkdir(parents=True)
    (tmp_path / "data" / "runs" / "a").symlink_to(tmp_path)
    recipe = requests.read_recipe("finetune", _recipe("finetune", tmp_path / "data"))
    assert len(concerns(recipe, tmp_path, tmp_path / "data")) == 1
