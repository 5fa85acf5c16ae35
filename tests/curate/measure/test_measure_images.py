import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import imagehash
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import curate.measure.row
import curate.measure.store
from curate.measure.images import measure_images
from curate.measure.store import Store
from curate.measure.texts import measure_text
from curate.settings.signals import ClipSettings, MeasureSettings
from curate.signals import SIGNALS
from curate.signals.clip import clip_pixels
from tests.curate.make_images import clip_folder, encoded, noise, shape, write
from tests.curate.one_part import corrected_of
from winnow.errors import UserError
from winnow.parquet.tables import write_parquet
from winnow.rows.records import Sample, Turn

PLAIN = MeasureSettings(workers=1, shard_size=4)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return clip_folder(tmp_path_factory.mktemp("model") / "clip")


@pytest.fixture
def root(tmp_path):
    """Ten images, two of them the same bytes, and one file of each preflight class."""
    root = tmp_path / "root"
    for number in range(9):
        write(root / f"{number}.png", noise(30 + number, 20, number))
    write(root / "9.png", (root / "3.png").read_bytes())
    write(root / "misnamed.jpg", (root / "4.png").read_bytes())
    write(root / "empty.png", b"")
    write(root / "page.jpg", b"<html>")
    write(root / "cut.png", encoded(noise(40, 40))[:900])
    write(root / "moving.gif", encoded(noise(), "GIF", save_all=True, append_images=[noise(seed=1)]))
    write(root / "drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    write(root / "long.png", encoded(noise(200, 60)))
    return root


PATHS = [f"{number}.png" for number in range(10)] + [
    "misnamed.jpg", "empty.png", "none.png", "page.jpg", "cut.png", "0.png", "moving.gif", "drawing.svg", "../x.png",
    "long.png",
]  # fmt: skip
CAPPED = PLAIN.model_copy(update={"max_pixels": 10_000, "max_bytes": 20_000})


def table(out, pattern="part-*.parquet"):
    return duckdb.sql(f"FROM '{out}/{pattern}'").fetchall()


def rows(out, name="part-*.parquet"):
    found = [row for path in sorted(out.glob(name)) for row in pq.read_table(path).to_pylist()]
    return {row.get("path") or row["sample_id"]: row for row in found}


def texts(samples, out, settings):
    """Measure the texts of samples; their rows by id."""
    made = measure_text(corrected_of(samples, out.with_name("corrected")), out, settings)
    return {row["sample_id"]: row for batch in made.batches() for row in batch.to_pylist()}


def tree(folder):
    """Every file below a folder with the digest of its bytes; of the cache of times, which notes when, its rows."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): pq.read_table(path).to_pydict()
        if path.name == "stat.parquet"
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_every_path_gets_its_class(root, tmp_path):
    report = measure_images(PATHS, root, tmp_path / "out", CAPPED)
    classes = {path: row["error"] for path, row in rows(tmp_path / "out", "paths.parquet").items()}
    assert list(classes) == list(dict.fromkeys(PATHS))
    assert {path: error for path, error in classes.items() if error} == {
        "misnamed.jpg": "wrong_extension", "empty.png": "empty", "none.png": "missing", "page.jpg": "not_an_image",
        "cut.png": "truncated", "moving.gif": "animated", "drawing.svg": "vector_image", "../x.png": "outside_root",
        "long.png": "too_large_bytes",
    }  # fmt: skip
    details = {path: row["error_detail"] for path, row in rows(tmp_path / "out", "paths.parquet").items()}
    assert details["drawing.svg"] == "SVG: convert it to PNG"
    assert report.errors == {error: 1 for error in classes.values() if error}
    assert (report.paths, report.known) == (19, 0)
    pixels = measure_images(["long.png"], root, tmp_path / "other", PLAIN.model_copy(update={"max_pixels": 10_000}))
    assert pixels.errors == {"too_large_pixels": 1}


def test_one_row_per_image_with_its_signals(root, tmp_path):
    measure_images(PATHS, root, tmp_path / "out", CAPPED)
    found = rows(tmp_path / "out")
    assert len({row["image_key"] for row in found.values()}) == len(found) == 14
    assert "9.png" not in found and "misnamed.jpg" not in found  # the same bytes as 3.png and 4.png
    row, image = found["5.png"], Image.open(root / "5.png")
    assert row["image_key"] == hashlib.sha256((root / "5.png").read_bytes()).hexdigest()
    assert (row["format"], row["mode"], row["width"], row["height"], row["frames"]) == ("PNG", "RGB", 35, 20, 1)
    assert row["phash"] == int(str(imagehash.phash(image)), 16)
    assert len(row["thumbnail"]) == 768
    assert row["clip_embedding"] is None and row["nsfw"] is None
    assert found["moving.gif"]["phash"] is not None
    assert found["cut.png"]["phash"] is None and found["cut.png"]["error_detail"]


def test_each_unique_image_is_decoded_once(root, tmp_path, monkeypatch, clip):
    seen = []
    original = curate.measure.row.decode_whole

    def counting(data, **caps):
        seen.append(hashlib.sha256(data).hexdigest())
        return original(data, **caps)

    monkeypatch.setattr(curate.measure.row, "decode_whole", counting)
    every = CAPPED.model_copy(update={"clip": ClipSettings(model=str(clip)), "nsfw": "opennsfw"})
    report = measure_images(PATHS, root, tmp_path / "out", every)
    assert len(seen) == len(set(seen)) == 14
    assert report.decodes == 13  # the empty file has nothing to decode
    assert report.images == 14
    again = measure_images(PATHS, root, tmp_path / "out", every)
    assert (again.decodes, again.images, again.known, again.errors) == (0, 0, 19, report.errors)
    assert len(seen) == 14


@pytest.mark.slow
def test_models_see_each_image(root, tmp_path, clip):
    from curate.signals.clip import load_clip
    from curate.signals.nsfw import load_nsfw, nsfw_pixels, nsfw_scores

    settings = PLAIN.model_copy(update={"clip": ClipSettings(model=str(clip)), "nsfw": "opennsfw", "batch_size": 3})
    measure_images(PATHS, root, tmp_path / "out", settings)
    found, model = rows(tmp_path / "out"), load_clip(str(clip), None)
    for path in ("0.png", "8.png", "moving.gif"):
        image = Image.open(root / path).convert("RGB")
        expected = model.embed_images(clip_pixels(image, model.input)[None])[0]
        assert np.allclose(found[path]["clip_embedding"], expected, atol=2e-3), path
        assert found[path]["nsfw"] == pytest.approx(nsfw_scores(load_nsfw(), nsfw_pixels(image)[None])[0], abs=1e-5)
    assert found["cut.png"]["clip_embedding"] is None and found["cut.png"]["nsfw"] is None


@pytest.mark.slow
def test_same_bytes_whatever_the_workers(root, tmp_path, clip):
    trees = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        settings = CAPPED.model_copy(update={"workers": workers, "clip": ClipSettings(model=str(clip))})
        measure_images(iter(PATHS), root, out, settings)
        trees.append(tree(out))
    assert trees[0] == trees[1]


def test_only_what_is_new_or_changed_is_measured(root, tmp_path):
    out = tmp_path / "out"
    measure_images(PATHS[:6], root, out, PLAIN)
    before = tree(out)
    write(root / "none.png", noise(seed=77))
    write(root / "1.png", noise(seed=78))
    report = measure_images([*PATHS[:6], "none.png", "7.png", "9.png"], root, out, PLAIN)
    assert (report.images, report.decodes, report.known) == (3, 3, 5)
    after = tree(out)
    assert {name: digest for name, digest in after.items() if name in before and name.startswith("part-")} == {
        name: digest for name, digest in before.items() if name.startswith("part-")
    }
    paths = pq.read_table(out / "paths.parquet").to_pylist()
    assert len({row["path"] for row in paths}) == len(paths) == 9
    keys = {row["path"]: row["image_key"] for row in paths}
    assert keys["1.png"] == hashlib.sha256((root / "1.png").read_bytes()).hexdigest()
    assert keys["9.png"] == keys["3.png"]


def test_a_missing_file_that_comes_back_is_measured(root, tmp_path):
    out = tmp_path / "out"
    assert measure_images(["none.png", "0.png"], root, out, PLAIN).errors == {"missing": 1}
    write(root / "none.png", noise(seed=50))
    report = measure_images(["none.png", "0.png"], root, out, PLAIN)
    assert (report.errors, report.images, report.known) == ({}, 1, 1)
    (root / "none.png").unlink()
    assert measure_images(["none.png", "0.png"], root, out, PLAIN).errors == {"missing": 1}


def test_without_the_cache_files_are_hashed_again_but_not_decoded(root, tmp_path):
    out = tmp_path / "out"
    measure_images(PATHS, root, out, PLAIN)
    shutil.rmtree(out / ".cache")
    assert measure_images(PATHS, root, out, PLAIN).decodes == 0


def test_a_new_version_recomputes_that_signal_only(root, tmp_path, monkeypatch):
    out = tmp_path / "out"
    measure_images(PATHS, root, out, PLAIN)
    before = rows(out)

    def change(name, **changes):
        monkeypatch.setitem(SIGNALS, name, replace(SIGNALS[name], **changes))

    change("entropy", version=99, compute=lambda image: {"entropy": -1.0})
    change("hashes", compute=lambda image: pytest.fail("not asked for"))
    (root / "3.png").unlink()  # 9.png still has its bytes
    report = measure_images([path for path in PATHS if path != "3.png"], root, out, PLAIN)
    assert report.images == 0
    after = rows(out)
    assert list(after) == list(before)
    for path, row in after.items():
        changed = {name for name in row if row[name] != before[path][name]}
        assert changed == ({"entropy"} if before[path]["width"] and before[path]["phash"] is not None else set()), path
    change("entropy", compute=lambda image: pytest.fail("measured twice"))
    assert measure_images(PATHS, root, out, PLAIN).decodes == 0


def test_a_model_added_later_fills_its_column_and_ends_with_the_same_rows(root, tmp_path, clip):
    grown, fresh = tmp_path / "grown", tmp_path / "fresh"
    with_clip = PLAIN.model_copy(update={"clip": ClipSettings(model=str(clip))})
    measure_images(PATHS, root, grown, PLAIN)
    measure_images(PATHS, root, grown, with_clip)
    measure_images(PATHS, root, fresh, with_clip)
    assert {name: d for name, d in tree(grown).items() if name.startswith("part")} == {
        name: d for name, d in tree(fresh).items() if name.startswith("part")
    }
    measure_images(PATHS, root, grown, PLAIN)
    assert all(row["clip_embedding"] is None for row in rows(grown).values())


def test_a_wider_cap_decodes_what_was_refused(root, tmp_path):
    out = tmp_path / "out"
    assert measure_images(["long.png"], root, out, PLAIN.model_copy(update={"max_pixels": 100})).errors
    measure_images(["long.png"], root, out, PLAIN)
    assert rows(out)["long.png"]["phash"] is not None


def test_no_root_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no such folder of images"):
        measure_images([], tmp_path / "none", tmp_path / "out", PLAIN)


def test_no_images_at_all(tmp_path):
    report = measure_images([], tmp_path, tmp_path / "out", PLAIN)
    assert (report.paths, report.images) == (0, 0)
    assert pq.read_table(tmp_path / "out" / "paths.parquet").num_rows == 0


def samples_of(paths):
    for number, path in enumerate(paths):
        turns = (
            Turn("user", f"<image>\nwhat {number % 3}?"),
            Turn("assistant", "red"),
            Turn("user", "and?"),
            Turn("assistant", "b"),
        )
        yield Sample(f"s/{number}", (path,), turns, ("red", "red", "blue"))
    yield Sample("s/two", ("0.png", "1.png"), (Turn("user", "q"), Turn("assistant", "a")))
    yield Sample("s/none", (), (Turn("user", "q"), Turn("assistant", "a")))


@pytest.mark.slow
def test_text_rows_and_alignment(root, tmp_path, clip):
    from curate.signals.clip import load_clip

    out = tmp_path / "out"
    settings = PLAIN.model_copy(update={"clip": ClipSettings(model=str(clip)), "batch_size": 2})
    measure_images(PATHS, root, out, settings)
    found, images, model = texts(samples_of(PATHS), out, settings), rows(out), load_clip(str(clip), None)
    assert list(found) == [sample.id for sample in samples_of(PATHS)]
    embeddings = {path: np.array(row["clip_embedding"]) for path, row in images.items() if row["clip_embedding"]}

    def cosine(path, text):
        return float(embeddings[path] @ model.embed_texts([text])[0])

    expected = [cosine("5.png", "what 2? red"), cosine("5.png", "and? b")]
    assert found["s/5"]["clip_alignments"] == pytest.approx(expected, abs=3e-3)
    assert found["s/5"]["clip_alignment"] == min(found["s/5"]["clip_alignments"])
    assert found["s/9"]["clip_alignments"] == pytest.approx(
        [cosine("3.png", "what 0? red"), cosine("3.png", "and? b")], abs=3e-3
    )
    worst = min(cosine("0.png", "q a"), cosine("1.png", "q a"))
    assert found["s/two"]["clip_alignments"] == pytest.approx([worst], abs=3e-3)
    assert found["s/none"]["clip_alignment"] is None and found["s/none"]["clip_alignments"] is None
    assert found["s/12"]["clip_alignment"] is None  # its file is missing
    assert (found["s/0"]["turns"], found["s/0"]["agreement"]) == (4, 2 / 3)


@pytest.mark.slow
def test_each_distinct_text_is_embedded_once_ever(root, tmp_path, clip, monkeypatch):
    from curate.signals.clip import Clip

    out = tmp_path / "out"
    settings = PLAIN.model_copy(update={"clip": ClipSettings(model=str(clip))})
    measure_images(PATHS, root, out, settings)
    seen = []
    original = Clip.embed_texts
    monkeypatch.setattr(Clip, "embed_texts", lambda self, texts: (seen.extend(texts), original(self, texts))[1])
    first = texts(samples_of(PATHS), out, settings)
    assert sorted(seen) == ["and? b", "q a", "what 0? red", "what 1? red", "what 2? red"]
    shutil.rmtree(out / "text")
    assert texts(samples_of(PATHS), out, settings) == first
    assert len(seen) == 5


def test_text_without_clip_has_no_alignment(root, tmp_path):
    measure_images(PATHS, root, tmp_path / "out", PLAIN)
    found = texts(samples_of(PATHS), tmp_path / "out", PLAIN)
    assert {row["clip_alignment"] for row in found.values()} == {None}


SCRIPT = """
import sys
import time
from pathlib import Path
from curate.measure.images import measure_images
from curate.measure.store import Store
from curate.measure.texts import measure_text
from tests.curate.one_part import corrected_of
from winnow.rows.records import Sample, Turn
from winnow.parquet.tables import write_parquet
from curate.settings.signals import MeasureSettings
def replace_then_wait(self, target, replace=Path.replace):
    replace(self, target)
    if str(target) == last:
        time.sleep(600)
if __name__ == "__main__":
    root, out, workers, last = sys.argv[1:]
    Path.replace = replace_then_wait
    paths = [f"{number}.png" for number in range(120)] + ["none.png"]
    settings = MeasureSettings(workers=int(workers), shard_size=10)
    measure_images(paths, Path(root), Path(out), settings)
    turns = Turn("user", "q"), Turn("assistant", "a")
    corrected = corrected_of((Sample(path, (path,), turns) for path in paths), Path(out + "-rows"))
    measure_text(corrected, Path(out), settings)
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_the_bytes_are_the_same(tmp_path, workers):
    root = tmp_path / "root"
    for number in range(120):
        write(root / f"{number}.png", shape(48, colour=(number, 99, 200)) if number % 3 else noise(60, 40, number % 30))
    script = write(tmp_path / "run.py", SCRIPT.encode())

    def start(out, last=""):
        """The measuring, which does nothing more when it has written the file ``last``."""
        command = [sys.executable, str(script), str(root), str(out), str(workers), str(last)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole).wait() == 0
    kills = 0
    for wanted in ("journal/00000.parquet", "part-00003.parquet", "journal/00007.parquet"):
        process = start(broken, broken / wanted)
        while process.poll() is None and not (broken / wanted).exists():
            time.sleep(0.01)
        process.kill()
        kills += process.wait() != 0
    assert kills == 3
    assert start(broken).wait() == 0
    assert tree(broken) == tree(whole)
    assert {path.name.partition(".")[0].partition("-")[0] for path in whole.iterdir()} == {"", "part", "paths", "text"}


@pytest.mark.slow
def test_models_resume_with_the_same_bytes(root, tmp_path, clip, monkeypatch):
    from curate.measure.embeddings import TextEmbeddings
    from curate.measure.store import Store

    settings = PLAIN.model_copy(update={"clip": ClipSettings(model=str(clip)), "batch_size": 2})
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    def run(out):
        measure_images(PATHS, root, out, settings)
        texts(samples_of(PATHS), out, settings)

    def fails_at(count, original):
        calls = []

        def failing(*arguments):
            calls.append(1)
            if len(calls) == count:
                raise KeyboardInterrupt
            return original(*arguments)

        return failing

    run(whole)
    for owner, name, count in ((Store, "write_block", 3), (Store, "write_part", 2), (TextEmbeddings, "append", 2)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(owner, name, fails_at(count, getattr(owner, name)))
            run(broken)
    run(broken)
    assert tree(broken) == tree(whole)


@pytest.mark.parametrize("earlier", [0, 6])
def test_stopped_at_any_write_of_its_end_the_paths_are_in_the_same_order(root, tmp_path, monkeypatch, earlier):
    """Without the files' times all would be read again, and those that are missing come first."""
    for file in root.iterdir():
        os.utime(file, (1, 1))  # a file that was written just now is read again
    whole = tmp_path / "whole"
    for paths in (PATHS[:earlier], PATHS):
        measure_images(paths, root, whole, PLAIN)

    def stopping(write):
        def stopped(*args, **more):
            nonlocal left
            write(*args, **more)
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        return stopped

    for writes in range(1, 9):
        out, left = tmp_path / str(writes), 0
        measure_images(PATHS[:earlier], root, out, PLAIN)
        with monkeypatch.context() as patched:
            finish = Store.finish

            def ending(store, superseded, patched=patched, finish=finish, number=writes):
                nonlocal left
                left = number
                patched.setattr(curate.measure.store, "write_parquet", stopping(write_parquet))
                patched.setattr(Path, "replace", stopping(Path.replace))
                finish(store, superseded)

            patched.setattr(Store, "finish", ending)
            try:
                measure_images(PATHS, root, out, PLAIN)
                ended = True
            except KeyboardInterrupt:
                ended = False
        report = measure_images(PATHS, root, out, PLAIN)
        assert report.decodes == 0
        assert (out / "paths.parquet").read_bytes() == (whole / "paths.parquet").read_bytes(), writes
        assert {path.name for path in (out / ".cache").iterdir()} == {
            path.name for path in (whole / ".cache").iterdir()
        }
        if ended:
            break
    assert ended and writes >= 3
