"""A local server whose replies a function writes: a model to judge, and its judge."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# The text of the last message → the reply; a number is an HTTP status to fail with.
Script = Callable[[str], str | int]


class Scripted(ThreadingHTTPServer):
    """Answers by ``script``; ``asked`` holds the texts of all questions."""

    daemon_threads = True

    def __init__(self, script: Script, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.name = script, name
        self.asked: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextlib.contextmanager
def scripted(script: Script, name: str = "scripted") -> Iterator[Scripted]:
    server = Scripted(script, name)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, {"object": "list", "data": [{"id": self.server.name, "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
        with self.server.lock:
            self.server.asked.append(text)
        said = self.server.script(text)
        if isinstance(said, int):
            self._send(said, {"error": {"message": "scripted failure"}})
            return
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        self._send(200, {"id": "x", "object": "chat.completion", "created": 1, "model": self.server.name,
                         "choices": [choice]})  # fmt: skip

    def _send(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def write_task(folder: Path, rows: list[dict], text: str) -> Path:
    """A text-only task with the given ``question``, ``answers`` and ``meta``."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [
        {"id": f"judged/test/{number}", "answers": row["answers"], "meta": row.get("meta", {}),
         "conversations": [{"from": "user", "value": row["question"]},
                           {"from": "assistant", "value": row["answers"][0]}]}
        for number, row in enumerate(rows)
    ]  # fmt: skip
    (folder / "test.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    task = folder / "judged.yaml"
    task.write_text(f"name: judged\nsource: {{location: {folder / 'test.jsonl'}}}\n{text}")
    return task


def write_recipe(path: Path, model: str, task: Path, out: Path, judge: str | None, extra: str = "") -> Path:
    """A recipe that asks the server at ``model`` and lets the one at ``judge`` judge."""
    server = {"max_attempts": 2, "timeout": 10}
    lines = [f"name: {path.stem}", f"out: {out}", f"server: {json.dumps({'url': model, **server})}", f"tasks: [{task}]"]
    if judge:
        lines.append(f"judge: {{server: {json.dumps({'url': judge, **server})}}}")
    path.write_text("\n".join(lines) + "\n" + extra)
    return path
