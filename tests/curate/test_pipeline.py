"""A whole curation on a tiny set: every row accounted for, nothing measured twice, killed runs end alike."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image

from curate import pipeline, workspace
from tests.curate import sets
from winnow.corrections import Correction
from winnow.errors import UserError
from winnow.media import images as decode
from winnow.rows.lines import read_jsonl
from winnow.run import read_manifest

TEST_SET = {"location": "test.jsonl", "image_root": "images", "source": "held", "split": "out"}


def make(folder: Path) -> None:
    """Eleven rows with one defect each way, and an evaluation set that shares an image."""
    images = folder / "images"
    for name in "abcd":
        sets.save(images / f"{name}.png", sets.scene(name.encode()[0]))
    sets.save(images / "tiny.png", sets.scene(9, side=12))
    sets.save(images / "copy.jpg", sets.scene(ord("a")), quality=75)
    sets.save(images / "leak.webp", sets.scene(77), quality=80)
    sets.save(images / "held.png", sets.scene(77))
    (images / "broken.png").write_bytes((images / "b.png").read_bytes()[:200])
    rows = [
        sets.row(1, "a.png"),
        sets.row(2, "copy.jpg"),
        "this is no JSON",
        sets.row(3, "b.png", "Is it red?", "yes"),
        sets.row(4, "b.png", "is it red", "no"),
        sets.row(5, "broken.png"),
        sets.row(6, "gone.png"),
        sets.row(7, "tiny.png"),
        sets.row(8, None, "What is 2 + 2?", "4"),
        sets.row(9, "leak.webp", "Where?", "there"),
        sets.row(10, ["c.png", "d.png"], "Which is larger!", "the first", answers=["the first", "the second"]),
    ]
    sets.write_lines(folder / "rows.jsonl", rows)
    sets.write_lines(
        folder / "test.jsonl", [sets.row(1, "held.png", "where", "here", source="held", split="out", id="1")]
    )


def full(folder: Path, **changes):
    against = {
        key: str(folder / value) if key in ("location", "image_root") else value for key, value in TEST_SET.items()
    }
    values = {
        "duplicates": {},
        "contamination": {"against": [against]},
        "corrections": str(folder / "fixes"),
        **changes,
    }
    return sets.recipe(folder, **values)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    make(folder)
    pipeline.run(full(folder), "recipe.yaml")
    return folder


def decided(folder):
    return {row["sample_id"]: row for row in pq.read_table(folder / "out/decisions.parquet").to_pylist()}


def digests(out: Path) -> dict[str, str]:
    """Every result file but the manifest, which holds timings, and the caches."""
    skipped = {"manifest.json", "work", ".cache"}
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not skipped & set(path.relative_to(out).parts)
    }


EXPECTED = {
    "set/train/1": ("keep", None),
    "set/train/2": ("drop", "duplicate"),
    "rows/bad-row-2": ("drop", "bad_row"),
    "set/train/3": ("flag", None),
    "set/train/4": ("flag", None),
    "set/train/5": ("drop", "unreadable"),
    "set/train/6": ("drop", "unreadable"),
    "set/train/7": ("drop", "tiny"),
    "set/train/8": ("keep", None),
    "set/train/9": ("drop", "contaminated"),
    "set/train/10": ("flag", None),
}


def test_every_row_has_its_decision_in_input_order(done):
    found = decided(done)
    assert list(found) == list(EXPECTED)
    assert {one: (row["decision"], row["reason"]) for one, row in found.items()} == EXPECTED
    assert found["set/train/2"]["representative"] == "set/train/1"
    assert 0 < found["set/train/2"]["duplicate_distance"] < 4
    assert found["set/train/9"]["rules"][0]["related_row"] == "held/out/1"


def test_exports_and_ledger_are_complete(done):
    out = done / "out"
    kept = [sample.id for sample in read_jsonl(out / "samples.jsonl")]
    assert kept == [one for one, (decision, _) in EXPECTED.items() if decision != "drop"]
    table = pq.read_table(out / "samples.parquet").to_pylist()
    assert [(row["sample_id"], row["decision"]) for row in table] == [
        (one, decision) for one, (decision, _) in EXPECTED.items()
    ]
    assert all(json.loads(row["record"])["id"] == row["sample_id"] for row in table)
    ledger = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert [entry["sample_id"] for entry in ledger] == [
        one for one, (decision, _) in EXPECTED.items() if decision != "keep"
    ]
    by_id = {entry["sample_id"]: entry for entry in ledger}
    assert by_id["set/train/2"]["related_row"] == "set/train/1"
    by_table = {row["sample_id"]: row for row in table}
    for entry in ledger:
        row = by_table[entry["sample_id"]]
        assert (entry["question"], entry["answer"]) == (row["question"], row["answer"])
        shown = entry["image"] if isinstance(entry["image"], list | None) else [entry["image"]]
        assert (shown or []) == row["images"]
    assert by_id["set/train/2"]["image"] == "copy.jpg" and by_id["rows/bad-row-2"]["question"] == ""
    assert "rows.jsonl:3: not JSON" in by_id["rows/bad-row-2"]["rules"][0]["values"]["bad_row"]
    assert by_id["set/train/5"]["rules"][0]["values"] == {"error": "truncated"}


def test_records_pass_unchanged(done):
    before = [line for line in (done / "rows.jsonl").read_text().splitlines() if line.startswith("{")]
    after = {json.loads(line)["id"]: json.loads(line) for line in (done / "out/samples.jsonl").read_text().splitlines()}
    for line in before:
        record = json.loads(line)
        if record["id"] in after:
            assert after[record["id"]] == record


def test_manifest_and_card(done):
    manifest = read_manifest(done / "out", finish_with="")
    counts = manifest["counts"]
    assert (counts["rows"], counts["keep"], counts["flag"], counts["drop"]) == (11, 2, 3, 6)
    assert [rule["rule"] for rule in counts["rules"]] == [
        "bad_row", "unreadable", "tiny", "shouting", "contaminated", "leak_suspected", "contaminated_text",
        "conflicting", "duplicate", "edited_copy",
    ]  # fmt: skip
    assert sum(rule["reason"] for rule in counts["rules"]) == counts["drop"]
    assert {source["source"]: source["rows"] for source in counts["sources"]} == {"set": 11}
    assert Path(manifest["image_root"]).resolve() == (done / "images").resolve()
    assert str(done / "rows.jsonl") in manifest["inputs"]
    for name, digest in manifest["outputs"].items():
        assert hashlib.sha256((done / "out" / name).read_bytes()).hexdigest() == digest
    card = (done / "out/README.md").read_text()
    assert "5 of 11 rows kept" in card
    assert "| tiny | drop | 1 | 1 | 1 | 7 |" in card
    for thumbnail in re.findall(r'<img src="([^"]*)"', card):
        with Image.open(done / "out" / thumbnail) as image:
            assert image.format == "JPEG" and max(image.size) <= 160
        assert thumbnail in manifest["outputs"]
    assert re.search(r'<img src="examples/\w+.jpg" width="80"> \| set/train/2', card)


def test_a_finished_run_does_nothing(done, monkeypatch):
    before = (done / "out/manifest.json").stat().st_mtime_ns
    monkeypatch.setattr(pipeline, "measure_images", None)
    outcome = pipeline.run(full(done), "recipe.yaml")
    assert outcome.seconds == {}
    assert outcome.counts["drop"] == 6
    assert (done / "out/manifest.json").stat().st_mtime_ns == before


def copied(done, tmp_path):
    """The finished set in another place with the same relative layout is not the same set: run again there."""
    make(tmp_path)
    pipeline.run(full(tmp_path), "recipe.yaml")
    return tmp_path


@pytest.mark.slow
def test_deciding_again_opens_no_image(done, tmp_path, monkeypatch):
    folder = copied(done, tmp_path)
    monkeypatch.setattr(decode, "decode", None)
    monkeypatch.setattr(pipeline, "measure_images", None)
    for path in (folder / "images").iterdir():
        path.unlink()
    rules = {
        **sets.RULES,
        "tiny": {"when": "width < 5", "action": "drop"},
        "long": {"when": "votes = 2", "action": "drop"},
    }
    changed = full(folder, rules=rules, duplicates={"scope": "image"})
    outcome = pipeline.decide_again(changed, "recipe.yaml")
    found = {one: row["decision"] for one, row in decided(folder).items()}
    assert found == {
        **{one: decision for one, (decision, _) in EXPECTED.items()},
        "set/train/7": "keep",
        "set/train/10": "drop",
    }
    assert outcome.counts["drop"] == 6
    pipeline.decide_again(full(folder, duplicates=None, contamination=full(folder).contamination), "recipe.yaml")
    assert decided(folder)["set/train/2"]["decision"] == "keep"
    assert not (folder / "out/duplicates.parquet").exists()


def test_deciding_needs_the_same_measuring(done, tmp_path):
    with pytest.raises(UserError, match="nothing is measured there yet; run `curate run my"):
        pipeline.decide_again(full(done, out=str(tmp_path / "new")), "my.yaml")
    with pytest.raises(UserError, match="not those that were measured"):
        pipeline.decide_again(full(done, signals={"max_bytes": 10}), "my.yaml")


def test_another_rule_order_is_another_recipe(done):
    swapped = full(done, rules=dict(reversed(sets.RULES.items())))
    assert pipeline.resolved(swapped) != pipeline.resolved(full(done))
    assert pipeline.resolved(full(done, signals={"workers": 7})) == pipeline.resolved(full(done))


def test_a_changed_image_is_measured_again(tmp_path):
    make(tmp_path)
    pipeline.run(full(tmp_path), "recipe.yaml")
    sets.save(tmp_path / "images/tiny.png", sets.scene(9, side=40))
    outcome = pipeline.run(full(tmp_path), "recipe.yaml")
    assert decided(tmp_path)["set/train/7"]["decision"] == "keep"
    assert outcome.counts["drop"] == 5


@pytest.mark.slow
def test_corrections_are_applied_and_reported(done, tmp_path):
    folder = copied(done, tmp_path)
    table = {row["sample_id"]: row for row in pq.read_table(folder / "out/samples.parquet").to_pylist()}

    def line(number, sample_id, action, reviewer="ann", **more):
        known = table.get(sample_id, {}).get("content_hash", "0" * 64)
        values = {"correction_id": f"c{number}", "sample_id": sample_id, "content_hash": known, "action": action}
        at = f"2026-01-01T{number:02d}:00:00Z"
        return Correction.model_validate({**values, "reviewer": reviewer, "at": at, **more}).model_dump(mode="json")

    fixes = [
        line(1, "set/train/4", "relabel", new="yes"),
        line(2, "set/train/7", "keep"),
        line(3, "set/train/8", "drop"),
        line(4, "set/train/1", "drop"),
        line(5, "set/train/1", "keep", reviewer="bob"),
        line(6, "set/train/9", "keep", content_hash="0" * 64),
        line(7, "nowhere/1", "drop"),
        line(8, "set/train/3", "drop"),
        line(9, "set/train/3", "undo", undoes="c8"),
    ]
    sets.write_lines(folder / "fixes/ann.jsonl", fixes)
    outcome = pipeline.decide_again(full(folder), "recipe.yaml")
    assert outcome.counts["corrections"] == {"applied": 3, "conflict": 2, "elsewhere": 1, "stale": 1, "undone": 1}
    report = json.loads((folder / "out/corrections.json").read_text())["lines"]
    assert report["c4"] == report["c5"] == "conflict"
    found = {one: (row["decision"], row["reason"]) for one, row in decided(folder).items()}
    assert found["set/train/4"] == ("drop", "duplicate"), "relabelled, it repeats row 3 and contradicts it no more"
    assert found["set/train/3"] == ("keep", None)
    assert found["set/train/7"] == ("keep", None)
    assert found["set/train/8"] == ("drop", "correction")
    assert found["set/train/1"] == ("keep", None)
    again = {row["sample_id"]: row for row in pq.read_table(folder / "out/samples.parquet").to_pylist()}
    assert again["set/train/4"]["answer"] == "yes"
    assert again["set/train/4"]["content_hash"] == table["set/train/4"]["content_hash"], "the hash is the source's"
    assert json.loads(again["set/train/4"]["record"])["meta"]["before_correction"] == {"answer": "no"}


def test_several_sources_share_one_root(tmp_path):
    for name in ("one", "two"):
        sets.save(tmp_path / name / "images/x.png", sets.scene(len(name) + ord(name[0])))
        rows = [
            sets.row(1, "x.png", id=f"{name}/1", source=name, split=""),
            sets.row(2, "../../two/images/x.png", id=f"{name}/2", source=name, split=""),
        ]
        sets.write_lines(tmp_path / f"{name}.jsonl", rows)
    sources = [
        {"location": str(tmp_path / f"{n}.jsonl"), "image_root": str(tmp_path / n / "images")} for n in ("one", "two")
    ]
    pipeline.run(sets.recipe(tmp_path, sources=sources), "r.yaml")
    table = {row["sample_id"]: row for row in pq.read_table(tmp_path / "out/samples.parquet").to_pylist()}
    assert table["one/1"]["images"] == ["one/images/x.png"]
    assert json.loads(table["one/1"]["record"])["meta"] == {"image_path": "x.png"}
    assert table["one/1"]["image_keys"] != table["two/1"]["image_keys"]
    # A path that leaves its own root stays as it was and is refused, even where it would end below the common root.
    assert table["one/2"]["images"] == ["../../two/images/x.png"]
    assert table["one/2"]["decision"] == "drop"
    assert Path(read_manifest(tmp_path / "out", finish_with="")["image_root"]).resolve() == tmp_path.resolve()


def test_clashing_ids_name_both_rows(tmp_path):
    sets.save(tmp_path / "images/a.png", sets.scene(1))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "a.png"), sets.row(2, "a.png"), sets.row(1, "a.png")])
    with pytest.raises(UserError, match=r"id 'set/train/1' occurs twice: rows 0 and 2"):
        pipeline.run(sets.recipe(tmp_path), "r.yaml")
    assert not (tmp_path / "out/manifest.json").exists()
    assert not workspace.Workspace(tmp_path / "out").rows.exists()


def test_an_empty_set(tmp_path):
    (tmp_path / "images").mkdir()
    sets.write_lines(tmp_path / "rows.jsonl", ["no JSON", "none either"])
    source = {
        "location": str(tmp_path / "rows.jsonl"),
        "layout": "conversations",
        "image_root": str(tmp_path / "images"),
    }
    outcome = pipeline.run(sets.recipe(tmp_path, sources=[source], duplicates={}), "r.yaml")
    assert (outcome.counts["rows"], outcome.counts["drop"], outcome.counts["images"]) == (2, 2, 0)
    assert (tmp_path / "out/samples.jsonl").read_text() == ""


def test_faces_are_counted_and_used_by_rules(tmp_path):
    sets.save(tmp_path / "images/face.png", Image.fromarray(skimage.data.astronaut()).resize((200, 200)))
    sets.save(tmp_path / "images/none.png", sets.scene(1))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "face.png"), sets.row(2, "none.png")])
    rules = {"people": {"when": "faces = 1 AND face_area > 0.01", "action": "flag"}}
    pipeline.run(sets.recipe(tmp_path, signals={"workers": 1, "faces": "mtcnn"}, rules=rules), "r.yaml")
    assert [row["decision"] for row in decided(tmp_path).values()] == ["flag", "keep"]


RUN = "from pathlib import Path; from tests.curate.test_pipeline import *; pipeline.run(full(Path()), 'recipe.yaml')"


def started(folder: Path) -> subprocess.Popen:
    """A run in its own process group, with ``folder`` as current directory and relative paths."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", RUN], cwd=folder, env=environment, start_new_session=True, **quiet)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    make(folder)
    begun = time.monotonic()
    assert started(folder).wait() == 0
    return digests(folder / "out"), time.monotonic() - begun


@pytest.mark.slow
def test_kill_9_then_the_same_bytes(undisturbed, tmp_path):
    expected, seconds = undisturbed
    make(tmp_path)
    for share in (0.5, 0.75):
        killed = started(tmp_path)
        time.sleep(share * seconds)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    assert started(tmp_path).wait() == 0
    assert digests(tmp_path / "out") == expected
    assert not list((tmp_path / "out").rglob("*.tmp")), "left behind by the killed run"


class Killed(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


@pytest.mark.slow
def test_stopping_at_every_single_write(undisturbed, tmp_path, monkeypatch):
    """Stop when the first file has appeared and the second is about to, and so on, each time going on from there."""
    expected, _ = undisturbed
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    replace = Path.replace
    stops = 0

    def stop(self, target):
        raise Killed(target)

    def replace_then_stop(self, target):
        monkeypatch.setattr(Path, "replace", stop)
        return replace(self, target)

    while stops < 60:
        monkeypatch.setattr(Path, "replace", replace_then_stop)
        try:
            pipeline.run(full(Path()), "recipe.yaml")
            break
        except Killed:
            stops += 1
            assert not (tmp_path / "out/manifest.json").exists()
    monkeypatch.setattr(Path, "replace", replace)
    pipeline.run(full(Path()), "recipe.yaml")
    assert stops > 20
    assert digests(tmp_path / "out") == expected


def test_two_runs_at_once(done):
    with (
        workspace.sole_use(workspace.Workspace(done / "out")),
        pytest.raises(UserError, match="another curate is at work"),
    ):
        pipeline.run(full(done), "recipe.yaml")
