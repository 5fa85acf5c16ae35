"""A local server that speaks chat completions and fails in every way, told by the question it is asked."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

SLOW = 12.0


class Unruly(ThreadingHTTPServer):
    """What was asked, how often, and with which headers; ``hang_after`` answers it hangs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict] = []
        self.headers_seen: list[dict[str, str]] = []
        self.times: list[tuple[str, float]] = []
        self.tries: Counter[str] = Counter()
        self.models = [{"id": "unruly-1", "object": "model", "created": 1, "root": "somewhere"}]
        self.hang_after: int | None = None
        self.down_after: int | None = None  # this many requests
        self.refuses: set[str] = set()  # fields of a request, "image" for any, "images" for more than one
        self.says: str | None = None  # the text of every answer
        self.thinks = False
        self.context: int | None = None  # tokens, and every request has more
        self.moods = random.Random()
        self.answered = 0
        self.running = self.most_at_a_time = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def questions(self) -> list[str]:
        return [question_of(body) for body in self.asked]


@contextlib.contextmanager
def unruly_server() -> Iterator[Unruly]:
    server = Unruly()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def question_of(body: dict) -> str:
    return "".join(part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text")


def completion(text: str | None, finish: str = "stop", **message: object) -> dict:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "unruly-1", "choices": [choice],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Unruly

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": self.server.models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = question_of(body)
        server = self.server
        with server.lock:
            server.asked.append(body)
            server.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
            server.times.append((question, time.monotonic()))
            server.tries[question] += 1
            attempt = server.tries[question]
            server.running += 1
            server.most_at_a_time = max(server.most_at_a_time, server.running)
            hang = server.hang_after is not None and server.answered >= server.hang_after
            server.answered += not hang
        try:
            if hang:
                time.sleep(600)
            self._answer(question, attempt, body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with server.lock:
                server.running -= 1

    def _answer(self, question: str, attempt: int, body: dict) -> None:
        first = attempt == 1
        images = sum(part["type"] == "image_url" for message in body["messages"] for part in message["content"])
        refused = sorted(self.server.refuses & {*body, *["image", "images"][: min(images, 2)]})
        if refused:
            self._send(400, {"error": {"message": f"Unsupported parameter: {refused[0]}", "type": "invalid_request"}})
        elif self.server.context:
            self._send(400, {"message": f"This model's maximum context length is {self.server.context} tokens"})
        elif self.server.thinks:  # and a stop text ends it wherever it stands
            text = "<think>Let me look. It glows.</think>red. And more"
            stop = min((text.find(end) for end in body.get("stop", []) if end in text), default=len(text))
            self._send(200, completion(text[:stop]))
        elif self.server.says is not None:
            self._text(200, self.server.says)
        elif self.server.down_after is not None and len(self.server.asked) > self.server.down_after:
            self._send(500, {"error": {"message": "engine is gone"}})
        elif question.startswith("busy") and attempt <= 2:
            self._send(503, {"error": {"message": "loading"}})
        elif question.startswith("limited") and first:
            self._send(429, {"error": {"message": "slow down"}}, {"Retry-After": "1"})
        elif question.startswith("reset") and first:
            self._start(200, 1000)
            self.wfile.write(b'{"id": "x", "cho')
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        elif question.startswith("slow") and first:
            time.sleep(SLOW)
            self._send(200, completion("late"))
        elif question.startswith("html") and first:
            self._text(200, "<html>gateway</html>")
        elif question.startswith("empty"):
            self._send(200, {**completion("x"), "choices": []})
        elif question.startswith("filtered"):
            self._send(200, completion("I", "content_filter"))
        elif question.startswith("declined"):
            self._send(200, completion(None, refusal="red is not for me"))
        elif question.startswith("endless"):
            self._send(200, completion("red red red", "length"))
        elif question.startswith("mute"):
            self._send(200, completion(" "))
        elif question.startswith("half a character"):
            self._text(200, json.dumps(completion("red \ud83d")))
        elif question.startswith("nul"):
            self._send(200, completion("red\0"))
        elif question.startswith("huge"):
            self._send(200, completion("red " * 2_500_000))
        elif question.startswith("flagged"):
            code = {"code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}
            self._send(400, {"error": {"message": "The response was filtered", **code}})
        elif question.startswith("moody"):
            self._send(200, completion("red" if self.server.moods.random() < 0.5 else "hard to see"))
        elif question.startswith("long"):
            self._send(400, {"error": {"message": "context of 9000 tokens; key sk-secret"}})
        elif question.startswith("locked"):
            self._send(401, {"error": {"message": "Incorrect API key provided: sk-secret"}})
        elif question.startswith("dead"):
            self._send(500, {"error": {"message": "out of memory"}})
        else:
            self._send(200, completion("red. And more"))

    def _send(self, status: int, body: dict, headers: dict[str, str] | None = None) -> None:
        self._text(status, json.dumps(body), headers)

    def _text(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self._start(status, len(data), headers)
        self.wfile.write(data)

    def _start(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()


def served_task(
    folder: Path, questions: list[str], extraction: str = "kind: text", images: list[str] | None = None
) -> Path:
    """A task whose rows all show one image and expect ``red``."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (220, 30, 30)).save(folder / "images" / "red.png")
    rows = [
        {"id": f"served/test/{number}", "image": images or "images/red.png", "answers": ["red"],
         "conversations": [{"from": "user", "value": text}, {"from": "assistant", "value": "red"}]}
        for number, text in enumerate(questions)
    ]  # fmt: skip
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = folder / "served.yaml"
    task.write_text(
        f"name: served\nsource: {{location: {folder / 'test.jsonl'}, image_root: {folder}}}\n"
        f"generation: {{max_new_tokens: 6, stop: ['.']}}\nextraction: {{{extraction}}}\nmetrics: [accuracy]\n"
    )
    return task


def served_recipe(path: Path, url: str, task: Path, out: Path, extra: str = "", **server: object) -> Path:
    """A recipe that asks the server at ``url``."""
    settings = {"url": url, "timeout": 10, "max_attempts": 4, **server}
    path.write_text(f"name: served\nout: {out}\nserver: {json.dumps(settings)}\ntasks: [{task}]\n{extra}")
    return path
