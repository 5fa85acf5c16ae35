"""A server is asked once of each kind before many: what it refuses is named with the recipe key that helps."""

from pathlib import Path

import pytest
from unruly import served_recipe, served_task, unruly_server

from evalsuite.backends import Request, sender
from evalsuite.backends.probe import probe_server
from evalsuite.backends.sender import PLAIN_QUESTION, request_body
from evalsuite.recipe import ServerSettings
from evalsuite.runs.run import run_recipe
from winnow.errors import UserError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_FIRST_WAIT", 0.01)


@pytest.mark.parametrize(
    ("refuses", "settings", "helps"),
    [
        ({"seed"}, {}, ["server.seed: null"]),
        ({"temperature"}, {}, ["server.temperature: null"]),
        ({"max_tokens"}, {}, ["server.token_limit: max_completion_tokens"]),
        ({"stop"}, {"send_stop": True}, ["server.send_stop: false"]),
        ({"top_k"}, {"extra_body": {"top_k": 1, "top_p": 1}}, ["server.extra_body` without `top_k"]),
        ({"max_tokens", "temperature", "stop"}, {"send_stop": True},
         ["server.token_limit: max_completion_tokens", "server.temperature: null", "server.send_stop: false"]),
    ],
)  # fmt: skip
def test_what_a_server_refuses_is_named_before_the_run(
    tmp_path: Path, refuses: set[str], settings: dict, helps: list[str]
) -> None:
    task = served_task(tmp_path / "data", [f"question {n}" for n in range(30)])
    with unruly_server() as server:
        server.refuses = refuses
        with pytest.raises(UserError, match="refuses `") as caught:
            run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out", **settings))
        assert all(f"set `{help}`" in str(caught.value) for help in helps)
        assert str(caught.value).count("refuses") == len(helps) and len(server.asked) < 12


def test_what_the_probe_asks_is_not_asked_twice(tmp_path: Path) -> None:
    task = served_task(tmp_path / "data", [f"question {n}" for n in range(30)])
    with unruly_server() as server:
        server.refuses = {"seed", "temperature", "max_tokens", "stop"}
        cured = {"seed": None, "temperature": None, "token_limit": "max_completion_tokens"}
        run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out", **cured))
        assert len(server.asked) == 30


def test_logprobs_and_budgets_of_thinking() -> None:
    from dataclasses import replace

    asked = replace(PLAIN_QUESTION, logprobs=True)
    with unruly_server() as server:
        settings = ServerSettings(url=server.url)
        (unsaid,) = probe_server(settings, "m", [asked]).findings
        assert not unsaid.fatal and "leaves out the probabilities" in unsaid.message
        server.refuses = {"logprobs"}
        (refused,) = probe_server(settings, "m", [asked]).findings
        assert refused.fatal and refused.setting == "generation.logprobs: false"
    budget = replace(PLAIN_QUESTION, thinking_budget=100)
    (nameless,) = probe_server(settings, "m", [budget]).findings
    assert nameless.fatal and "server.thinking_limit" in nameless.message
    named = ServerSettings(
        url=server.url, thinking_limit="reasoning.max_tokens", extra_body={"reasoning": {"on": True}}
    )
    assert request_body(named, "m", budget)["extra_body"] == {"reasoning": {"on": True, "max_tokens": 100}}
    assert named.extra_body == {"reasoning": {"on": True}}


def test_temperature_and_seed_are_those_of_the_ask() -> None:
    ask = Request("k", "[]", (), (), 5, (), temperature=0.7, seed=3)
    body = request_body(ServerSettings(url="http://x/v1"), "m", ask)
    assert (body["temperature"], body["seed"]) == (0.7, 3)
    assert "temperature" not in request_body(ServerSettings(url="http://x/v1", temperature=None), "m", ask)


def test_one_image_a_request_is_said_and_costs_the_rows_with_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = served_task(tmp_path / "data", ["one", "two"], images=["images/red.png", "images/red.png"])
    with unruly_server() as server:
        server.refuses = {"images"}
        _, scores, _ = run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out"))
    assert scores["tasks"]["served"]["statuses"]["failed"] == 2
    assert "warning: " in (said := capsys.readouterr().err) and "does not take 2 images in a request" in said


def test_a_model_that_takes_no_image_is_not_asked_about_any(tmp_path: Path) -> None:
    task = served_task(tmp_path / "data", [f"question {n}" for n in range(30)], images=["images/red.png"])
    with unruly_server() as server:
        server.refuses = {"image"}
        with pytest.raises(UserError, match=r"does not take images .*name a model that sees images"):
            run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out"))
        assert len(server.asked) < 12


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("<html><body>Please log in</body></html>", "is a web page, no chat completion"),
        ('data: {"choices": [{"delta": {"content": "red"}}]}\n\ndata: [DONE]\n', "streams its answers"),
        ('{"choices": []}', "holds no choices"),
    ],
)
def test_answers_that_are_none_end_the_run_before_it_begins(tmp_path: Path, answer: str, sentence: str) -> None:
    task = served_task(tmp_path / "data", [f"question {n}" for n in range(30)])
    with unruly_server() as server:
        server.says = answer
        with pytest.raises(UserError, match=sentence) as caught:
            run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out", max_attempts=2))
        assert "\n" not in str(caught.value) and len(server.asked) < 20


def test_a_server_that_has_gone_is_to_be_started() -> None:
    with unruly_server() as server:
        settings = ServerSettings(url=server.url, max_attempts=2)
    (gone,) = probe_server(settings, "m", [PLAIN_QUESTION]).findings
    assert gone.fatal and gone.message.endswith("(2 tries); start the server, or correct `server.url`")
