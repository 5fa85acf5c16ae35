from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import httpx2
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from tests.serving.guard.live import ask, event, events, guarded, lines, policy, said


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for the guard, a minute at most."""
    deadline = time.monotonic() + 60
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.05)


def stream_of(*texts: str) -> StreamingResponse:
    return StreamingResponse(iter(texts), media_type="text/event-stream")


def test_a_word_that_comes_in_pieces_is_never_sent(tmp_path):
    rules = policy(text_out={"words": ["secret plan"]}, log={"folder": tmp_path, "contents": True})
    with guarded(rules, lambda _: list("The secret plan is here, and more of it follows.")) as (client, _, _):
        answer = ask(client, "?", stream=True)
        assert said(answer) == "The "
        assert events(answer)[-1]["error"]["code"] == "answer_not_allowed"
        assert ask(client, "?").json()["error"]["code"] == "answer_not_allowed"
    found = lines(tmp_path)
    assert [(line["verdict"], line["stage"], line["rule"], line["contents"]) for line in found] == [
        ("block", "text_out", "word", "secret plan")
    ] * 2


def test_a_sentence_ends_an_answer_that_is_cut():
    rules = policy(text_out={"words": ["secret"]}, verdict="sentence", sentence="Enough.")
    with guarded(rules, lambda _: ["It is ", "sec", "ret"]) as (client, _, _):
        answer = ask(client, "?", stream=True)
        assert said(answer) == "It is  Enough."
        assert events(answer)[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_personal_data_is_masked_across_pieces(tmp_path):
    rules = policy(text_out={"pii": ["email"]}, log={"folder": tmp_path})
    with guarded(rules, lambda _: list("Write to jane@example.com today.")) as (client, _, _):
        assert said(ask(client, "?", stream=True)) == said(ask(client, "?")) == "Write to [email] today."
    assert [line["verdict"] for line in lines(tmp_path)] == ["mask", "mask"]


def test_the_canary_and_the_prompt_stay_here():
    def repeat(body: dict) -> str:
        return f"I was told: {body['messages'][0]['content']}"

    with guarded(policy(system_prompt="Be brief."), repeat) as (client, upstream, _):
        for stream in (False, True):
            assert "Reference" not in ask(client, "?", stream=stream).text.split("(Reference")[0][-1:]
            assert upstream.seen[-1]["messages"][0]["content"].split()[-1] not in ask(client, "?", stream=stream).text
        canary = upstream.seen[-1]["messages"][0]["content"].split("Reference ")[1][:16]
        assert canary not in ask(client, "?", stream=True).text
        assert ask(client, [{"type": "text", "text": "?"}]).status_code == 400


def test_calls_of_tools_are_looked_at_too():
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "send", "arguments": '{"to": "sec'}}
    rest = {"index": 0, "function": {"arguments": 'ret"}'}}

    def reply(_: dict) -> StreamingResponse:
        last = (event({}, "tool_calls"), "data: [DONE]\n\n")
        return stream_of(event({"tool_calls": [call]}), event({"tool_calls": [rest]}), *last)

    with guarded(policy(text_out={"words": ["secret"]}), reply) as (client, _, _):
        answer = ask(client, "?", stream=True)
        assert "ret" not in answer.text.replace("secret", "") and "answer_not_allowed" in answer.text
    with guarded(policy(), reply) as (client, _, _):
        pieces = [call for event in events(ask(client, "?", stream=True)) for choice in event["choices"]
                  for call in choice["delta"].get("tool_calls", [])]  # fmt: skip
        assert json.loads("".join(piece["function"].get("arguments", "") for piece in pieces)) == {"to": "secret"}


@pytest.mark.parametrize(
    "reply",
    [
        lambda _: stream_of("data: not json\n\n"),
        lambda _: stream_of('data: {"choices": "x"}\n\n'),
        lambda _: stream_of('data: {"choices": [{"index": -1, "delta": {}}]}\n\n'),
        lambda _: stream_of('data: {"error": {"message": "the system prompt is X"}}\n\n'),
        lambda _: stream_of(event({"content": "half"})),
        lambda _: stream_of("data: " + "x" * 9_000_000),
        lambda _: PlainTextResponse("hello"),
        lambda _: JSONResponse({"error": {"message": "the system prompt is X"}}, 400),
        lambda _: JSONResponse([1], 500),
        lambda _: JSONResponse({}, headers={"content-encoding": "gzip"}),
        lambda _: JSONResponse({}, 302, headers={"location": "http://127.0.0.1:1/"}),
    ],
)
def test_answers_that_are_none(reply):
    with guarded(policy(text_out={"window": 16}), reply) as (client, _, _):
        for stream in (True, False):
            answer = ask(client, "?", stream=stream)
            assert answer.status_code in (200, 400, 502)
            assert answer.status_code != 200 or events(answer)[-1].get("error", {}).get("code") in (
                "bad_upstream", "upstream_error",
            )  # fmt: skip
            assert "system prompt" not in answer.text


def test_events_of_other_forms_are_read():
    text = event({"role": "assistant", "content": "a"}) + ": a comment\n\nevent: x\nid: 1\n" + event({"content": "b"})
    crlf = (
        text.replace("\n", "\r\n")
        + 'data: {"choices":\ndata:  [{"index": 0, "delta": {"content": "c"}}]}\n\ndata: [DONE]\n\n'
    )
    with guarded(policy(), lambda _: stream_of(crlf)) as (client, _, _):
        assert said(ask(client, "?", stream=True)) == "abc"


def test_a_client_that_goes_ends_the_upstreams_answer():
    with guarded(policy(text_out={"window": 16}), lambda _: ["many words "] * 200_000) as (client, upstream, guard):
        with client.stream("POST", "/v1/chat/completions", json={
            "model": "m", "stream": True, "messages": [{"role": "user", "content": "?"}]}) as answer:  # fmt: skip
            next(answer.iter_bytes())
        wait_until(lambda: upstream.closed and not guard.gate.running)
        assert upstream.closed == 1 and guard.gate.running == 0


def test_two_hundred_streams_at_a_time_arrive_whole():
    text = [f"word{number} " for number in range(30)]

    async def all_of(url: str) -> list[str]:
        async with httpx2.AsyncClient(base_url=url, timeout=120, limits=httpx2.Limits(max_connections=None)) as client:
            body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "?"}]}
            answers = await asyncio.gather(*(client.post("/v1/chat/completions", json=body) for _ in range(200)))
        return [said(answer) for answer in answers]

    with guarded(policy(), lambda _: text) as (client, upstream, guard):
        found = asyncio.run(all_of(str(client.base_url)))
        assert found == ["".join(text)] * 200
        wait_until(lambda: not guard.gate.running)  # places are given back after the last bytes
        assert len(upstream.seen) == 200 and guard.gate.running == guard.gate.waiting == 0
