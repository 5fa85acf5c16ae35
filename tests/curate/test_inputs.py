"""A changed input is noticed by its content, whatever kind of source it is; nothing else makes a run begin again."""

import csv
import gzip
import io
import json
import os
import shutil
import tarfile
import time
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from curate import pipeline
from curate.inputs import edits_sought
from curate.kinds import EDITS
from curate.pipeline import decide_again
from curate.pipeline import run as curate
from curate.seal import damaged_files
from curate.workspace import Workspace
from tests.curate import sets
from winnow.errors import UserError
from winnow.files import sha256_file

BEFORE, AFTER = "cat", "dog"
FIELDS = ("image", "question", "answer")


def rows(answer):
    return [dict(zip(FIELDS, (f"{n}.png", f"animal {n}?", answer if n else BEFORE), strict=True)) for n in range(2)]


def jsonl(answer):
    return "".join(f"{json.dumps(row)}\n" for row in rows(answer)).encode()


def separated(answer, sign):
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, delimiter=sign)
    writer.writeheader()
    writer.writerows(rows(answer))
    return text.getvalue().encode()


def parquet(answer):
    return pd.DataFrame(rows(answer)).to_parquet(index=False, compression=None, use_dictionary=False)


def xlsx(answer):
    file = io.BytesIO()
    pd.DataFrame(rows(answer)).to_excel(file, index=False)
    return file.getvalue()


def shard(answer):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number, row in enumerate(rows(answer)):
            for name, data in ((f"{number}.png", picture(number)), (f"{number}.json", json.dumps(row).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def metadata(answer):
    found = [{"file_name": row["image"], "text": f"a {row['answer']} sits"} for row in rows(answer)]
    return "".join(f"{json.dumps(row)}\n" for row in found).encode()


def picture(number):
    file = io.BytesIO()
    sets.scene(number).save(file, "PNG")
    return file.getvalue()


# Kind → the file that is edited, what makes its bytes, the location.
KINDS = {
    "file": ("data.jsonl", jsonl, "data.jsonl"),
    "pattern of JSONL": ("data/train-0.jsonl", jsonl, "data/train-*.jsonl"),
    "pattern of CSV": ("csv/train-0.csv", lambda answer: separated(answer, ","), "csv/train-{0..0}.csv"),
    "folder of CSV": ("csv/train-0.csv", lambda answer: separated(answer, ","), "csv"),
    "folder of TSV": ("tsv/train-0.tsv", lambda answer: separated(answer, "\t"), "tsv"),
    "folder of Parquet": ("parquet/train-0.parquet", parquet, "parquet"),
    "folder with data folder": ("repo/data/train-0.parquet", parquet, "repo"),
    "folder of packed tables": ("packed/a.jsonl.gz", lambda answer: gzip.compress(jsonl(answer), 0), "packed"),
    "workbook": ("table.xlsx", xlsx, "table.xlsx"),
    "shards": ("shards/train-000.tar", shard, "shards"),
    "folder of images with metadata": ("imf/metadata.jsonl", metadata, "imf"),
    "nested metadata": ("imf/deep/metadata.jsonl", metadata, "imf"),
    "texts beside images": ("imf/deep/1.txt", lambda answer: f"a {answer}".encode(), "imf"),
    "fields beside images": ("imf/1.json", lambda answer: json.dumps({"caption": answer}).encode(), "imf"),
}


def kind_of_source(folder: Path, kind: str):
    """The recipe of a set of that kind, and a function that writes its file."""
    name, make, location = KINDS[kind]
    file = folder / name

    def write(answer):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(make(answer))

    below = file.parent if location == "imf" else folder / "images"
    for number in range(2):
        sets.save(below / f"{number}.png", sets.scene(number))
    source = {"location": str(folder / location)}
    if location != "imf" and kind != "shards":
        source["image_root"] = str(folder / "images")
    return sets.recipe(folder, sources=[source], rules={}), write


def answers(folder: Path, word: str) -> int:
    return (folder / "out/samples.jsonl").read_text().count(word)


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_of_equal_length_is_noticed(tmp_path, kind):
    recipe, write = kind_of_source(tmp_path, kind)
    write(BEFORE)
    curate(recipe, "r")
    assert not curate(recipe, "r").seconds, "nothing has changed"
    before, size = answers(tmp_path, BEFORE), (tmp_path / KINDS[kind][0]).stat().st_size
    assert before and not answers(tmp_path, AFTER)
    write(AFTER)
    if kind != "workbook":
        assert (tmp_path / KINDS[kind][0]).stat().st_size == size
    assert curate(recipe, "r").seconds
    assert answers(tmp_path, AFTER) > 0
    assert answers(tmp_path, AFTER) + answers(tmp_path, BEFORE) == before
    assert not curate(recipe, "r").seconds


def test_an_edit_that_keeps_size_and_time_is_noticed(tmp_path):
    recipe, write = kind_of_source(tmp_path, "folder of CSV")
    write(BEFORE)
    file = tmp_path / KINDS["folder of CSV"][0]
    os.utime(file, (1e9, 1e9))
    curate(recipe, "r")
    write(AFTER)
    os.utime(file, (1e9, 1e9))
    curate(recipe, "r")
    assert answers(tmp_path, AFTER)


def test_a_second_file_of_annotations_is_an_input(tmp_path):
    questions = [{"question_id": n, "image_id": n, "question": f"animal {n}?"} for n in range(2)]
    sets.save(tmp_path / "images/COCO_val2014_000000000000.jpg", sets.scene(0))
    sets.save(tmp_path / "images/COCO_val2014_000000000001.jpg", sets.scene(1))
    asked, file = (
        tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json",
        tmp_path / "v2_mscoco_val2014_annotations.json",
    )
    asked.write_text(json.dumps({"data_subtype": "val2014", "questions": questions}))

    def write(answer):
        votes = [
            {**row, "multiple_choice_answer": answer, "answers": [{"answer": answer, "answer_id": 1}]}
            for row in questions
        ]
        file.write_text(json.dumps({"data_subtype": "val2014", "annotations": votes}))

    write(BEFORE)
    source = {"location": str(asked), "image_root": str(tmp_path / "images")}
    recipe = sets.recipe(tmp_path, sources=[source], rules={})
    curate(recipe, "r")
    write(AFTER)
    curate(recipe, "r")
    assert answers(tmp_path, AFTER) and not answers(tmp_path, BEFORE)


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_an_archive_of_images_is_an_input(tmp_path, ending):
    def write(number):
        with io.BytesIO() as file:
            if ending == "zip":
                with zipfile.ZipFile(file, "w") as packed:
                    packed.writestr("0.bmp", data[number])
            else:
                with tarfile.open(fileobj=file, mode="w") as packed:
                    member = tarfile.TarInfo("0.bmp")
                    member.size = len(data[number])
                    packed.addfile(member, io.BytesIO(data[number]))
            (tmp_path / f"images.{ending}").write_bytes(file.getvalue())

    data = []
    for number in range(2):
        sets.scene(number).save(file := io.BytesIO(), "BMP")
        data.append(file.getvalue())
    write(0)
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "0.bmp")])
    source = {"location": str(tmp_path / "rows.jsonl"), "image_root": str(tmp_path / f"images.{ending}")}
    recipe = sets.recipe(tmp_path, sources=[source], rules={})
    curate(recipe, "r")
    first = (tmp_path / "out/samples.jsonl").read_text()
    write(1)
    curate(recipe, "r")
    assert (tmp_path / "out/samples.jsonl").read_text() != first


def test_a_picture_that_was_written_as_it_was_read_is_looked_at_again(tmp_path):
    """Its size and time say nothing: it was changed within the same tick of the clock."""
    image = sets.save(tmp_path / "images/a.bmp", sets.scene(1))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "a.bmp")])
    recipe = sets.recipe(tmp_path)
    curate(recipe, "r")
    assert not curate(recipe, "r").seconds
    key = pd.read_parquet(tmp_path / "out/signals/paths.parquet").image_key[0]
    status = image.stat()
    sets.save(image, sets.scene(2))
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert image.stat().st_size == status.st_size
    assert curate(recipe, "r").seconds
    assert pd.read_parquet(tmp_path / "out/signals/paths.parquet").image_key[0] != key


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "with a new row"])
def test_a_picture_that_is_replaced_by_one_of_its_size_and_time_is_measured(tmp_path, others):
    """As ``cp -p``, ``rsync -t`` and unpacking do, long after it was read."""
    image = sets.save(tmp_path / "images/a.bmp", sets.scene(1))
    other = sets.save(tmp_path / "b.bmp", sets.scene(2))
    for path in (image, other):
        os.utime(path, (1e9, 1e9))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "a.bmp")])
    recipe = sets.recipe(tmp_path)
    curate(recipe, "r")
    shutil.copy2(other, image)
    assert (image.stat().st_size, image.stat().st_mtime) == (other.stat().st_size, 1e9)
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(n, "a.bmp", f"{n}?") for n in range(1, 2 + others)])
    assert curate(recipe, "r").seconds
    assert pd.read_parquet(tmp_path / "out/signals/paths.parquet").image_key.to_list() == [sha256_file(other)]
    assert not curate(recipe, "r").seconds


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "with a new row"])
def test_a_picture_whose_rights_change_is_read_once_and_keeps_its_place(tmp_path, monkeypatch, others):
    images = [sets.save(tmp_path / f"images/{name}.bmp", sets.scene(n)) for n, name in enumerate("ab")]
    for image in images:
        os.utime(image, (1e9, 1e9))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(name, f"{name}.bmp", f"{name}?") for name in "ab"])
    recipe = sets.recipe(tmp_path)
    curate(recipe, "r")
    before, read = (tmp_path / "out/signals/paths.parquet").read_bytes(), set()
    images[0].chmod(0o600)
    monkeypatch.setattr("curate.measure.store.sha256_file", lambda path: read.add(path.name) or sha256_file(path))
    rows = [sets.row(name, f"{name[0]}.bmp", f"{name}?") for name in ("a", "b", "bb")[: 2 + others]]
    sets.write_lines(tmp_path / "rows.jsonl", rows)
    assert bool(curate(recipe, "r").seconds) == bool(others)
    assert "a.bmp" in read
    assert "b.bmp" not in read
    read.clear()
    assert not curate(recipe, "r").seconds
    assert "a.bmp" not in read
    assert (tmp_path / "out/signals/paths.parquet").read_bytes() == before
    assert not damaged_files(Workspace(tmp_path / "out"), whole=True)


def test_a_picture_that_was_long_there_is_not_read_again(tmp_path, monkeypatch):
    image = sets.save(tmp_path / "images/a.bmp", sets.scene(1))
    os.utime(image, (1e9, 1e9))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "a.bmp")])
    recipe = sets.recipe(tmp_path)
    curate(recipe, "r")

    def digest(path):
        assert path != image.resolve(), "it was read"
        return sha256_file(path)

    monkeypatch.setattr("curate.measure.store.sha256_file", digest)
    assert not curate(recipe, "r").seconds
    with pytest.raises(AssertionError, match="it was read"):  # the trap works
        soon = time.time() + 3600
        os.utime(image, (soon, soon))  # however long a run takes, the file is not older than that
        curate(recipe, "r")
        curate(recipe, "r")


@pytest.mark.parametrize("key", ["losses", "gains"])
def test_a_named_pipe_in_place_of_a_table_is_said(tmp_path, key):
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, None)])
    (tmp_path / "images").mkdir()
    os.mkfifo(tmp_path / "pipe.parquet")
    named = [str(tmp_path / "pipe.parquet")]
    with pytest.raises(UserError, match=r"pipe\.parquet: not readable as .* \(.*not a regular file"):
        curate(sets.recipe(tmp_path, **({key: named} if key == "losses" else {"answers": {key: named}})), "r")


@pytest.mark.parametrize("how", ["too large", "a link out of the root"])
def test_a_picture_that_was_refused_and_now_is_fit_is_measured(tmp_path, how):
    image = tmp_path / "images/a.bmp"
    if how == "too large":
        sets.save(image, sets.scene(1).resize((100, 100)))
    else:
        image.parent.mkdir()
        image.symlink_to(sets.save(tmp_path / "b.bmp", sets.scene(1)))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "a.bmp")])
    recipe = sets.recipe(tmp_path, signals={"workers": 1, "max_bytes": 20_000})
    curate(recipe, "r")
    paths = tmp_path / "out/signals/paths.parquet"
    assert pd.read_parquet(paths).error.to_list() == ["too_large_bytes" if how == "too large" else "outside_root"]
    assert not curate(recipe, "r").seconds, "nothing has changed"
    image.unlink()
    sets.save(image, sets.scene(2))
    assert curate(recipe, "r").seconds
    assert pd.read_parquet(paths).image_key.to_list() == [sha256_file(image)]


def test_pictures_behind_links_belong_to_a_folder_and_links_to_itself_do_not(tmp_path):
    folder = tmp_path / "pictures"
    sets.save(folder / "a.png", sets.scene(1))
    (folder / "again").symlink_to(folder)
    sets.save(tmp_path / "elsewhere/b.png", sets.scene(2))
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    source = {"location": str(folder), "follow_links": True}
    recipe = sets.recipe(tmp_path, sources=[source], rules={})
    assert curate(recipe, "r").counts["rows"] == 2
    sets.save(tmp_path / "elsewhere/c.png", sets.scene(3))
    assert curate(recipe, "r").counts["rows"] == 3


def test_names_that_are_not_utf8_are_no_trouble(tmp_path):
    folder = os.fsencode(tmp_path) + b"/tables"
    Path(os.fsdecode(folder)).mkdir()
    for name in (b"caf\xe9.csv", b"tea.csv"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(separated(BEFORE, ",") + b"0.png,only two\n")
    with zipfile.ZipFile(os.fsdecode(folder + b"/im\xe9ges.zip"), "w") as packed:
        packed.writestr("x.txt", "x")
    (tmp_path / "images").mkdir()
    source = {"location": os.fsdecode(folder), "image_root": str(tmp_path / "images")}
    recipe = sets.recipe(tmp_path, sources=[source], rules={})
    assert curate(recipe, "r").counts["rows"] == 6
    assert not curate(recipe, "r").seconds


def test_a_source_that_changes_while_it_is_read_is_said_and_read_again(tmp_path, monkeypatch):
    recipe, write = kind_of_source(tmp_path, "folder of CSV")
    write(BEFORE)
    whole = pipeline.read_sources

    def interrupted(*arguments, **more):
        found = whole(*arguments, **more)
        write(AFTER)
        return found

    monkeypatch.setattr(pipeline, "read_sources", interrupted)
    with pytest.raises(UserError, match="csv: changed while it was read; run it again"):
        curate(recipe, "r")
    assert not (tmp_path / "out/manifest.json").exists()
    monkeypatch.setattr(pipeline, "read_sources", whole)
    curate(recipe, "r")
    assert answers(tmp_path, AFTER)


def test_a_copied_folder_of_a_set_is_the_same_input(tmp_path):
    """Times and inodes are a shortcut, and no part of what an input is."""
    recipe, write = kind_of_source(tmp_path, "folder of images with metadata")
    write(BEFORE)
    curate(recipe, "r")
    first = json.loads((tmp_path / "out/manifest.json").read_text())["inputs"]
    time.sleep(0.01)
    shutil.copytree(tmp_path / "imf", tmp_path / "copy")
    shutil.rmtree(tmp_path / "imf")
    (tmp_path / "copy").rename(tmp_path / "imf")
    curate(recipe, "r")
    assert json.loads((tmp_path / "out/manifest.json").read_text())["inputs"] == first


def test_a_result_inside_its_source_is_no_part_of_it(tmp_path):
    write_rows = sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, None)])
    recipe = sets.recipe(tmp_path, sources=[{"location": str(tmp_path)}], rules={})
    curate(recipe, "r")
    assert not curate(recipe, "r").seconds
    sets.write_lines(write_rows, [sets.row(2, None)])
    assert curate(recipe, "r").seconds


_NO_EDITS = {"kinds": dict.fromkeys(EDITS, "ignore")}


def test_keypoints_are_measured_only_where_edited_copies_are_sought(tmp_path):
    for number in range(2):
        sets.save(tmp_path / f"images/{number}.png", sets.scene(number))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(number, f"{number}.png") for number in range(2)])

    def looks(folder, **changes):
        recipe = sets.recipe(tmp_path, out=str(tmp_path / folder), **changes)
        curate(recipe, "r")
        return recipe, pq.read_table(tmp_path / folder / "signals/part-00000.parquet")["look"].null_count == 0

    plain, measured = looks("plain", duplicates=_NO_EDITS)
    assert not measured and not looks("none")[1] and not looks("again", duplicates=_NO_EDITS)[1]
    seeking = plain.model_copy(update={"duplicates": sets.recipe(tmp_path, duplicates={}).duplicates})
    with pytest.raises(UserError, match="run `curate run r`"):  # nothing to find them by is there yet
        decide_again(seeking, "r")
    assert (
        looks("plain", duplicates={})[1]
        and looks("fresh", duplicates={})[1]
        and looks("splits", splits={"train": 0.5, "val": 0.5})[1]
    )
    assert (tmp_path / "plain/signals/part-00000.parquet").read_bytes() == (
        tmp_path / "fresh/signals/part-00000.parquet"
    ).read_bytes()


@pytest.mark.parametrize(
    ("own", "leaks", "expected"),
    [
        (None, None, (False, False)),
        ({}, None, (True, True)),
        ({}, {}, (True, True)),
        (_NO_EDITS, {}, (True, True)),
        ({}, _NO_EDITS, (True, False)),
        (_NO_EDITS, _NO_EDITS, (False, False)),
    ],
)
def test_evaluation_sets_have_keypoints_if_they_are_searched_for_edits(tmp_path, own, leaks, expected):
    against = None if leaks is None else {"against": [{"location": "held.jsonl"}], **leaks}
    assert edits_sought(sets.recipe(tmp_path, duplicates=own, contamination=against)) == expected
