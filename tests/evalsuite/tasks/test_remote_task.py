"""A task whose images are web addresses: fetched once if it says so, a failure costs its row."""

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from tiny import recipe_text

from evalsuite.runs.run import run_recipe
from evalsuite.store import open_predictions
from evalsuite.tasks.load import load_task
from evalsuite.tasks.spec import load_spec
from winnow.errors import UserError

REMOTE = "remote: {allow_private: true, attempts: 1, backoff: 0.01}\n"


class _Counting(SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web").mkdir()
    for number in range(2):
        Image.new("RGB", (20, 20 + number), (200, 90 * number, 0)).save(tmp_path / "web" / f"{number}.png")
    handler = functools.partial(_Counting, directory=str(tmp_path / "web"))
    _Counting.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def task(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("evalsuite.tasks.load.IMAGES", tmp_path / "cache")
    rows = [
        {"id": f"web/test/{number}", "image": f"{address}/{name}", "answers": ["red"],
         "conversations": [{"from": "user", "value": f"what is {number}?"}, {"from": "assistant", "value": "red"}]}
        for number, name in enumerate(["0.png", "1.png", "0.png", "gone.png"])
    ]  # fmt: skip
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "web.yaml"
    path.write_text(f"name: web\nsource: {{location: {tmp_path / 'test.jsonl'}}}\n{REMOTE}metrics: [accuracy]\n")
    return path


def test_images_behind_addresses_are_fetched_once(tmp_path: Path, tiny_vlm: Path, task: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(recipe_text("web", tmp_path / "out", tiny_vlm, task))
    run_recipe(recipe)
    rows = open_predictions(tmp_path / "out").read().to_pylist()
    assert [len(row["image_keys"]) for row in rows] == [1, 1, 1, 0]
    assert rows[0]["image_keys"] == rows[2]["image_keys"] != rows[1]["image_keys"]
    assert [row["status"] == "failed" for row in rows] == [False, False, False, True]
    assert rows[3]["error"].endswith("/gone.png: the server says it is not there, or no longer (404, 410)")
    assert sorted(_Counting.asked) == ["/0.png", "/1.png", "/gone.png"]
    assert run_recipe(recipe)[2] is False and len(_Counting.asked) == 3, "nothing is fetched twice"


def test_nothing_is_fetched_unless_the_task_says_so(task: Path) -> None:
    task.write_text(task.read_text().replace(REMOTE, ""))
    with pytest.raises(UserError, match=r"task web: its images are web addresses; `remote: \{\}` in the task fetches"):
        load_task(load_spec(str(task)), limit=None, seed=0)
    assert not _Counting.asked
