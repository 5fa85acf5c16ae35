"""Servers: every failure is a status, what may work is tried again, nothing is asked twice, nothing leaks."""

import base64
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from unruly import SLOW, served_recipe, served_task, unruly_server

from evalsuite.backends import Request, sender
from evalsuite.backends.sender import PLAIN_QUESTION
from evalsuite.backends.server import ask_all
from evalsuite.recipe import ServerSettings
from evalsuite.runs.run import run_recipe
from winnow.errors import UserError

WAYS = ["fine", "busy", "limited", "reset", "slow", "html",
        "empty", "filtered", "declined", "endless", "mute", "long", "dead"]  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_FIRST_WAIT", 0.02)


def rows_of(out: Path) -> dict[str, dict]:
    return {row["question"]: row for row in pq.read_table(out / "predictions.parquet").to_pylist()}


@pytest.mark.slow
def test_every_failure_is_a_status_and_what_may_work_is_tried_again(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    out = tmp_path / "out"
    task = served_task(tmp_path / "data", WAYS)
    with unruly_server() as server:
        path = served_recipe(tmp_path / "r.yaml", server.url, task, out, timeout=SLOW / 3)
        _, scores, worked = run_recipe(path)
        assert worked
        rows = rows_of(out)
        for way in ("fine", "busy", "limited", "reset", "slow", "html"):
            assert (rows[way]["status"], rows[way]["extracted"], rows[way]["accuracy"]) == ("ok", "red", 1.0), way
            assert rows[way]["raw"] == "red. And more", "replies are stored uncut"
        assert {way: rows[way]["status"] for way in WAYS[6:]} == {
            "empty": "failed", "filtered": "refused", "declined": "refused", "endless": "ok",
            "mute": "unparsed", "long": "failed", "dead": "failed",
        }  # fmt: skip
        unanswered = [way for way in WAYS[6:] if way != "endless"]
        assert all(rows[way]["accuracy"] == 0.0 and rows[way]["extracted"] is None for way in unanswered)
        assert [way for way in WAYS if rows[way]["truncated"]] == ["endless"]
        assert rows["declined"]["raw"] == "red is not for me"
        assert rows["dead"]["error"] == "HTTP 500: out of memory (4 tries)"
        assert rows["empty"]["error"].startswith("the answer holds no choices")
        assert rows["fine"]["input_tokens"] == 7 and rows["fine"]["output_tokens"] == 2
        tried = dict(server.tries)
        assert tried == {
            "fine": 1, "busy": 3, "limited": 2, "reset": 2, "slow": 2, "html": 2, "empty": 4, "filtered": 1,
            "declined": 1, "endless": 1, "mute": 1, "long": 1, "dead": 4,
        }  # fmt: skip
        first, second = (moment for question, moment in server.times if question == "limited")
        assert second - first >= 1.0, "Retry-After"
        task_scores = scores["tasks"]["served"]
        assert task_scores["statuses"] == {"ok": 7, "unparsed": 1, "refused": 2, "failed": 3}
        assert task_scores["coverage"] == 7 / 13
        kept = json.loads((out / "manifest.json").read_text())
        assert kept["ask_again"] == 2, "what never reached the model, or came back as nothing"
        assert kept["server_model"] == "unruly-1"

        before = {name: (out / name).read_bytes() for name in ("predictions.parquet", "scores.json", "report.html")}
        server.asked.clear()
        assert run_recipe(path)[2] is True
        assert sorted(set(server.questions)) == ["dead", "empty"], "every reply and every refusal is kept"
        assert "never reached the model are asked again: 2" in capsys.readouterr().err
        assert {name: (out / name).read_bytes() for name in before} == before
    assert run_recipe(path)[2] is False, "without the server the finished run stays as it is"
    assert "because the server does not answer" in capsys.readouterr().err
    assert {name: (out / name).read_bytes() for name in before} == before
    for file in out.rglob("*"):
        assert not file.is_file() or b"sk-secret" not in file.read_bytes(), f"the key is in {file.name}"


def test_an_interrupted_run_keeps_every_reply_and_no_failure_that_may_pass(tmp_path: Path, quick: None) -> None:
    from evalsuite.recipe import EvalRecipe
    from evalsuite.runs.ask import ask
    from evalsuite.runs.requests import build_requests, hash_images, select_backend
    from evalsuite.store import stored_replies
    from evalsuite.tasks.load import load_task
    from evalsuite.tasks.spec import load_spec
    from winnow.recipe import load_recipe

    task_file = served_task(tmp_path / "data", ["fine", "endless", "filtered", "mute", "long", "dead"])
    with unruly_server() as server:
        path = served_recipe(tmp_path / "r.yaml", server.url, task_file, tmp_path / "out")
        recipe = load_recipe(path, EvalRecipe)
        backend, task = select_backend(recipe), load_task(load_spec(str(task_file)), limit=None, seed=0)
        asked = build_requests(task, hash_images(task), backend.renderer(), backend.identity)
        replies: dict = {}
        ask(recipe.folder, backend, asked, replies)
    assert len(replies) == 6
    stored = {(reply.raw, reply.finish_reason) for reply in stored_replies(recipe.folder).values()}
    assert stored == {
        ("red. And more", "stop"), ("red red red", "length"), ("I", "content_filter"), (" ", "stop"), ("", "error"),
    }  # fmt: skip


def test_request_says_what_the_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-mine")
    task = served_task(tmp_path / "data", ["what colour is it?"])
    with unruly_server() as server:
        extra_body = {"top_k": 1, "chat_template_kwargs": {"enable_thinking": False}}
        path = served_recipe(
            tmp_path / "r.yaml", server.url, task, tmp_path / "out", api_key_env="MY_KEY", extra_body=extra_body
        )
        run_recipe(path)
        (body,), (headers,) = server.asked, server.headers_seen
    assert headers["authorization"] == "Bearer sk-mine"
    uri = body["messages"][0]["content"][0]["image_url"]["url"]
    sent = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert sent == (tmp_path / "data" / "images" / "red.png").read_bytes(), "readable images go as they are"
    assert body["messages"][0]["content"][1] == {"type": "text", "text": "what colour is it?"}
    settings = {key: value for key, value in body.items() if key != "messages"}
    assert settings == {
        "model": "unruly-1", "max_tokens": 6, "temperature": 0.0, "seed": 0, **extra_body,
    }  # fmt: skip


def test_finished_run_needs_no_server_and_another_port_asks_nothing(tmp_path: Path) -> None:
    task = served_task(tmp_path / "data", ["one", "two"])
    out = tmp_path / "out"
    with unruly_server() as server:
        path = served_recipe(tmp_path / "r.yaml", server.url, task, out)
        run_recipe(path)
    assert run_recipe(path)[2] is False, "nobody is there, and nobody is needed"
    before = (out / "predictions.parquet").read_bytes()
    with unruly_server() as server:
        moved = served_recipe(tmp_path / "r.yaml", server.url, task, out)
        assert run_recipe(moved)[2] is True and server.asked == []
        assert (out / "predictions.parquet").read_bytes() == before
        server.models[0]["root"] = "other-weights"
        run_recipe(moved)
        assert len(server.asked) == 2, "other weights under the same name are another model"


@pytest.mark.parametrize(
    ("questions", "sentence"),
    [
        (["locked"] * 3, r"HTTP 401: Incorrect API key provided: \[key\]"),
        (
            ["down"] * 60,
            "20 rows one after the other failed, .* engine is gone .* a plain question fails there as well",
        ),
    ],
)
def test_hopeless_servers_stop_the_run(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, questions: list[str], sentence: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    task = served_task(tmp_path / "data", [f"{text} {number}" for number, text in enumerate(questions)])
    with unruly_server() as server:
        server.down_after = 3
        with pytest.raises(UserError, match=sentence):
            run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out", max_attempts=2))
        assert len(server.asked) < 70, "two attempts at 20 rows and those in flight, and what is asked to be sure"


@pytest.mark.slow
def test_rows_that_fail_for_their_own_reason_never_end_the_run(tmp_path: Path, quick: None) -> None:
    questions = [f"dead {n}" for n in range(45)] + [f"long {n}" for n in range(45)] + [f"fine {n}" for n in range(10)]
    task, out = served_task(tmp_path / "data", questions), tmp_path / "out"
    with unruly_server() as server:
        path = served_recipe(tmp_path / "r.yaml", server.url, task, out, max_attempts=2, max_concurrency=4)
        _, scores, _ = run_recipe(path)
        assert scores["tasks"]["served"]["statuses"] == {"ok": 10, "unparsed": 0, "refused": 0, "failed": 90}
        server.asked.clear()
        run_recipe(path)
        assert {question.split()[0] for question in server.questions} == {"dead", "Answer"}, (
            "a 400 is kept, a 500 is not"
        )


def test_rows_that_are_all_too_long_fail_without_ending_the_run(tmp_path: Path) -> None:
    task = served_task(tmp_path / "data", [f"question {n}" for n in range(50)])
    with unruly_server() as server:
        server.context = 4096
        _, scores, _ = run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out"))
    assert scores["tasks"]["served"]["statuses"]["failed"] == 50


def test_odd_replies_cost_their_row_at_most(tmp_path: Path, quick: None) -> None:
    odd = ["half a character", "nul", "huge", "flagged", "fine"]
    task, out = served_task(tmp_path / "data", odd), tmp_path / "out"
    with unruly_server() as server:
        path = served_recipe(tmp_path / "r.yaml", server.url, task, out)
        run_recipe(path)
        assert not run_recipe(path)[2], "none of them is asked again"
    rows = rows_of(out)
    assert rows["half a character"]["raw"] == "red \ufffd" and "surrogate" in rows["half a character"]["error"]
    assert rows["nul"]["raw"] == "red\0" and rows["fine"]["status"] == "ok"
    assert rows["huge"]["status"] == "failed" and rows["huge"]["error"] == "the answer is longer than 8,000,000 bytes"
    assert rows["flagged"]["status"] == "refused" and rows["flagged"]["error"].startswith("HTTP 400: The response was")


def test_a_stop_text_never_ends_the_thinking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, out = served_task(tmp_path / "data", [f"question {n}" for n in range(9)]), tmp_path / "out"
    with unruly_server() as server:
        server.thinks = True
        run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, out, send_stop=True))
        assert sum("stop" in body for body in server.asked) == 1, "the probe's"
        in_flight = [Request(f"k{n}", PLAIN_QUESTION.chat, (), (), 6, (".",)) for n in range(9)]
        settings = ServerSettings(url=server.url, send_stop=True)
        raws = {reply.raw for part in ask_all(settings, "m", in_flight) for reply in part}
    assert (
        raws == {row["raw"] for row in rows_of(out).values()} == {"<think>Let me look. It glows.</think>red. And more"}
    )
    assert "no stop texts are sent" in capsys.readouterr().err


def test_nobody_there_is_one_sentence(tmp_path: Path) -> None:
    with unruly_server() as server:
        url = server.url
    task = served_task(tmp_path / "data", ["one"])
    with pytest.raises(UserError, match="start the server"):
        run_recipe(served_recipe(tmp_path / "r.yaml", url, task, tmp_path / "out"))
    with unruly_server() as server:
        server.models.append({"id": "second"})
        with pytest.raises(UserError, match="serves unruly-1, second; name one"):
            run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out"))
        run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out", model="second"))
        assert server.asked[0]["model"] == "second"


@pytest.mark.slow
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_stopped_run_asks_only_what_is_missing(tmp_path: Path, way: signal.Signals) -> None:
    questions = [f"question {number}" for number in range(700)]
    task, out = served_task(tmp_path / "data", questions), tmp_path / "out"
    with unruly_server() as server:
        server.hang_after = 400
        path = served_recipe(tmp_path / "r.yaml", server.url, task, out, max_concurrency=8, timeout=600)
        client = subprocess.Popen(
            [sys.executable, "-m", "evalsuite", "run", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while client.poll() is None and not (len(server.asked) == 408 and list((out / "parts").glob("*.parquet"))):
            time.sleep(0.05)
        time.sleep(1)  # the 408th question was sent when 400 answers had come: let the last of them be noted
        client.send_signal(way)
        said, _ = client.communicate()
        assert not (out / "manifest.json").exists()
        kept = {key for part in (out / "parts").iterdir() for key in pq.read_table(part)["key"].to_pylist()}
        if way is signal.SIGKILL:
            assert client.returncode == -signal.SIGKILL and len(kept) >= 256
            assert not (out / "scores.json").exists()
        else:
            assert client.returncode == 130 and "Run again to finish" in said
            assert len(kept) == 400
            scores = json.loads((out / "scores.json").read_text())
            assert scores["partial"] == {"rows": 400, "of": 700}
            assert scores["tasks"]["served"]["metrics"]["accuracy"]["value"] == 1.0
            assert "**Partial: the run was stopped after 400 of 700 rows" in (out / "report.md").read_text()
            assert 'role="alert"' in (out / "report.html").read_text()
        server.hang_after = None
        server.asked.clear()
        _, scores, _ = run_recipe(path)
        assert len(server.asked) == 700 - len(kept) and scores["partial"] is None
        calm = served_recipe(
            tmp_path / "calm.yaml", server.url, task, tmp_path / "calm", max_concurrency=8, timeout=600
        )
        run_recipe(calm)
    for name in ("predictions.parquet", "scores.json", "report.md", "report.html"):
        assert (out / name).read_bytes() == (tmp_path / "calm" / name).read_bytes(), name


def test_concurrency_grows_up_to_its_limit(tmp_path: Path) -> None:
    task = served_task(tmp_path / "data", [f"question {number}" for number in range(60)])
    with unruly_server() as server:
        run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out", max_concurrency=3))
        assert 1 <= server.most_at_a_time <= 3


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://user:key@host/v1", "http://h/v1?key=1"])
def test_addresses_are_checked(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match=r"server\.url"):
        run_recipe(served_recipe(tmp_path / "r.yaml", url, tmp_path / "t.yaml", tmp_path / "out"))


def test_images_that_servers_cannot_read_are_encoded_anew(tmp_path: Path) -> None:
    from evalsuite.backends.images import Unreadable, data_uri, encode

    def opened(uri: str) -> Image.Image:
        return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))

    Image.new("CMYK", (30, 20), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    shown = opened(data_uri(str(tmp_path / "print.jpg"), "a", 10_000_000))
    assert (shown.format, shown.mode, shown.size) == ("PNG", "RGB", (30, 20)) and shown.getpixel((5, 5))[0] > 200
    turned = Image.new("RGB", (30, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert opened(data_uri(str(tmp_path / "turned.jpg"), "b", 10_000_000)).size == (20, 30), (
        "EXIF orientation is applied"
    )
    noise = Image.effect_noise((400, 300), 90).convert("RGB")
    small = opened(encode(noise, 20_000))
    assert small.format == "JPEG" and small.size[0] < 400
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(Unreadable, match=r"no\.png: not_an_image"):
        data_uri(str(tmp_path / "no.png"), "c", 10_000_000)


def test_images_are_scaled_down_where_the_server_does_not(tmp_path: Path) -> None:
    from evalsuite.backends import Request
    from evalsuite.backends.sender import fill_in
    from evalsuite.recipe import ServerSettings

    asked, sizes = [], [(300, 100), (30, 10)]
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
        asked.append(str(tmp_path / f"{number}.png"))
    chat = json.dumps([{"role": "user", "content": [{"type": "image"}, {"type": "image"}]}])
    request = Request("k", chat, tuple(asked), ("scaled 0", "scaled 1"), 5, ())

    def sent(**settings: int) -> list[tuple[int, int]]:
        (turn,) = fill_in(request, ServerSettings(url="http://127.0.0.1:1/v1", **settings))
        uris = [block["image_url"]["url"].partition(",")[2] for block in turn["content"]]
        return [Image.open(io.BytesIO(base64.b64decode(uri))).size for uri in uris]

    assert sent() == sizes and sent(max_pixels=7500) == [(150, 50), (30, 10)]
