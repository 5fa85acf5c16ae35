"""``hub:`` on local folders, and against a server on this machine that speaks as much of the hub as is needed."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from curate.inputs import source_digest
from curate.readers import open_source
from curate.readers.images.store import content_path
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded
from tests.curate.sets import scene
from winnow.digests import Digests
from winnow.errors import UserError
from winnow.rows.records import Sample

IMAGES = [encoded(scene(number)) for number in range(4)]


def opened(location, **options):
    return open_source(SourceSettings(location=location, **options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset as ``push_to_hub`` lays it out."""
    import datasets

    target = tmp_path_factory.mktemp("hub") / "shapes"
    features = datasets.Features(
        {
            "id": datasets.Value("int64"),
            "image": datasets.Image(),
            "question": datasets.Value("string"),
            "answers": datasets.List(datasets.Value("string")),
            "kind": datasets.ClassLabel(names=["round", "square"]),
        }
    )
    for split, numbers in {"train": range(3), "test": range(3, 4)}.items():
        rows = {
            "id": list(numbers),
            "image": [{"bytes": IMAGES[number], "path": f"{number}.png"} for number in numbers],
            "question": [f"q{number}" for number in numbers],
            "answers": [["a", "b", "a"] for _ in numbers],
            "kind": [number % 2 if number else -1 for number in numbers],
        }
        path = target / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return target


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_by_split(folder, streaming):
    source = opened(f"hub:{folder}::train", streaming=streaming)
    rows = list(source.rows())
    assert source.layout == "hub"
    assert [row.id for row in rows] == ["shapes/train/0", "shapes/train/1", "shapes/train/2"]
    assert [row.image for row in rows] == [(content_path(data),) for data in IMAGES[:3]]
    assert list(rows[0].embedded.values()) == IMAGES[:1]
    assert rows[0].answers == ("a", "b", "a")
    assert [row.meta["kind"] for row in rows] == [-1, "square", "round"]
    assert rows[0].meta["id"] == 0


def test_every_split_without_one(folder):
    rows = list(opened(f"hub:{folder}", streaming=True).rows())
    assert Counter(row.split for row in rows) == {"train": 3, "test": 1}
    assert len({row.id for row in rows}) == 4


def test_what_is_not_there_is_a_sentence(folder):
    with pytest.raises(UserError, match=r"hub:.*nosplit"):
        list(opened(f"hub:{folder}::nosplit").rows())
    with pytest.raises(UserError, match=r"hub:.*noconfig"):
        list(opened(f"hub:{folder}:noconfig").rows())
    with pytest.raises(UserError, match="names no dataset"):
        list(opened("hub:::train").rows())


def test_no_code_of_a_dataset_is_run(tmp_path):
    script = tmp_path / "evil"
    script.mkdir()
    (script / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError):
        list(opened(f"hub:{script}").rows())
    assert not (tmp_path / "ran").exists()


def test_a_changed_folder_is_another_input(folder, tmp_path):
    settings = SourceSettings(location=f"hub:{folder}")

    def digest():
        return source_digest(settings, Digests(tmp_path / "digests.parquet"), tmp_path / "out")

    before = digest()
    assert digest() == before
    (folder / "data" / "notes.txt").write_text("more")
    assert digest() != before
    (folder / "data" / "notes.txt").unlink()


class Hub(BaseHTTPRequestHandler):
    """Enough of the hub's API for one dataset, ``me/shapes``; the first answer for a file breaks in the middle."""

    folder: Path
    asked: Counter
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def _send(self, body, status=200, send_body=True, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in {"X-Repo-Commit": "c" * 40, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if send_body:
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET(head=True)

    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"]) or 2))
        entries = [entry for entry in self._tree() if entry["path"] in wanted.get("paths", [])]
        self._send(json.dumps(entries).encode(), Content_Type="application/json")

    def _tree(self):
        for path in sorted(self.folder.rglob("*.parquet")):
            name = path.relative_to(self.folder).as_posix()
            yield {"type": "file", "oid": "a" * 40, "size": path.stat().st_size, "path": name}

    def do_GET(self, head=False):
        path = self.path.partition("?")[0]
        self.asked[f"{'HEAD ' if head else ''}{path}"] += 1
        if found := re.fullmatch(r"/datasets/me/shapes/resolve/[^/]+/(.*)", path):
            file = self.folder / found[1]
            if not file.is_file():
                self._send(b"", 404, not head, X_Error_Code="EntryNotFound")
                return
            data = file.read_bytes()
            tag = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept_Ranges": "bytes"}
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked:
                start, end = int(asked[1]), int(asked[2] or len(data) - 1)
                where = {"Content_Range": f"bytes {start}-{end}/{len(data)}"}
                self._send(data[start : end + 1], 206, not head, **tag, **where)
            elif not head and self.asked[path] == 1:
                self.asked["broken"] += 1
                self._send(data, 200, False, **tag)
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            else:
                self._send(data, 200, not head, **tag)
        elif re.fullmatch(r"/api/datasets/me/shapes(/revision/[^/]+)?", path):
            siblings = [{"rfilename": entry["path"]} for entry in self._tree()]
            info = {"_id": "1", "id": "me/shapes", "sha": "c" * 40, "siblings": siblings, "private": False,
                    "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0}  # fmt: skip
            self._send(json.dumps(info).encode(), 200, not head, Content_Type="application/json")
        elif found := re.fullmatch(r"/api/datasets/me/shapes/tree/[^/]+(?:/(.*))?", path):
            below = found[1] or ""
            entries = [entry for entry in self._tree() if entry["path"].startswith(below)]
            if not below and "recursive=true" not in self.path.lower():
                entries = [{"type": "directory", "oid": "b" * 40, "size": 0, "path": "data"}]
            self._send(json.dumps(entries).encode(), 200, not head, Content_Type="application/json")
        else:
            self._send(b'{"error": "not found"}', 404, not head, X_Error_Code="RepoNotFound")


@pytest.fixture
def hub(folder):
    handler = type("ThisHub", (Hub,), {"folder": folder, "asked": Counter()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.asked = handler.asked
    yield server
    server.shutdown()
    server.server_close()


READ = """
import sys, json
from curate.settings.sources import SourceSettings
from curate.readers import open_source
from curate.readers.layouts.hub import revision
for streaming in (False, True):
    rows = list(open_source(SourceSettings(location="hub:me/shapes::train", streaming=streaming)).rows())
    print(json.dumps([[row.id, row.image[0], len(row.embedded)] for row in rows]))
print(revision("hub:me/shapes"))
"""


@pytest.mark.slow
def test_hf_endpoint_is_asked_and_a_broken_download_goes_on(hub, tmp_path):
    mirror = f"http://127.0.0.1:{hub.server_address[1]}"
    own = {"HF_ENDPOINT": mirror, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", READ], env={**os.environ, **own}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *lists, commit = done.stdout.splitlines()
    wanted = [[f"shapes/train/{number}", content_path(IMAGES[number]), 1] for number in range(3)]
    assert [json.loads(line) for line in lists] == [wanted, wanted]
    assert commit == "c" * 40
    assert hub.asked["broken"] >= 1


def test_rows_that_are_conversations(tmp_path):
    turns = [{"role": "user", "content": "<image>q"}, {"role": "assistant", "content": "a"}]
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks" / "train.jsonl").write_text(json.dumps({"messages": turns, "images": ["a.png"]}) + "\n")
    (row,) = opened(f"hub:{tmp_path / 'talks'}").rows()
    assert isinstance(row, Sample)
    assert (row.answer, row.image, row.split) == ("a", ("a.png",), "train")
