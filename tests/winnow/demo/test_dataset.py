import io
import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter, UnidentifiedImageError
from typer.testing import CliRunner

from winnow.demo import defects
from winnow.demo.dataset import app, make_dataset
from winnow.demo.easy_vqa import (
    COLOURS,
    SHAPES,
    answers_of,
    by_image,
    facts,
    image_paths,
    load_questions,
    question_type,
)
from winnow.errors import UserError
from winnow.rows.lines import check_unique, read_jsonl
from winnow.rows.records import Sample

IMAGES = 240
TEST_IMAGES = IMAGES // 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "raw"
    assert make_dataset(out, images=IMAGES)
    return out


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, Sample]:
    return {sample.id: sample for sample in check_unique(read_jsonl(folder / "vqa.jsonl"))}


@pytest.fixture(scope="module")
def truth(folder: Path) -> dict[str, list[dict]]:
    by_defect = defaultdict(list)
    for row in pq.read_table(folder / "truth.parquet").to_pylist():
        by_defect[row["defect"]].append(row | {"detail": json.loads(row["detail"])})
    return by_defect


PACKAGED = {split: image_paths(split) for split in ("train", "test")}


def original(split: str, image_id: int | str) -> bytes:
    return PACKAGED[split][int(image_id)].read_bytes()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64)), dtype=float)


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes_other_seed_other_defects(folder, tmp_path):
    make_dataset(tmp_path / "again", images=IMAGES)
    first, again = all_files(folder), all_files(tmp_path / "again")
    del first["manifest.json"], again["manifest.json"]  # holds timings
    assert first == again
    make_dataset(tmp_path / "other", images=IMAGES, seed=1)
    assert (tmp_path / "other/truth.parquet").read_bytes() != first["truth.parquet"]


def test_a_second_run_does_nothing_until_an_image_is_gone(folder, tmp_path):
    out = tmp_path / "raw"
    assert make_dataset(out, images=20)
    before = (out / "manifest.json").stat().st_mtime_ns
    assert not make_dataset(out, images=20)
    assert (out / "manifest.json").stat().st_mtime_ns == before
    (out / "images/test/0.png").unlink()
    assert make_dataset(out, images=20)


def test_a_folder_of_someone_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="was not made by this command"):
        make_dataset(tmp_path, images=20)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_too_few_images_are_refused(tmp_path):
    result = CliRunner().invoke(app, ["--images", "5", "--out", str(tmp_path / "raw")])
    assert result.exit_code == 2
    assert not (tmp_path / "raw").exists()


def test_shares(truth):
    images = {name: round(share * IMAGES) for name, share in defects.Shares().some(*defects.IMAGE_DEFECTS).items()}
    asked = by_image(load_questions("train", IMAGES))
    for name, count in images.items():
        assert count * 3 < len(truth[name]) < count * 18, name  # questions an image
    total = sum(map(len, asked.values()))
    assert len(truth["wrong_answer"]) == round(0.03 * total)
    assert len(truth["contradictory"]) == 2 * round(0.02 * total)


def test_one_defect_alone_and_none_at_all(folder, tmp_path):
    shares = defects.Shares.only(wrong_answer=0.2)
    make_dataset(tmp_path / "wrong", images=IMAGES, shares=shares)
    make_dataset(tmp_path / "clean", images=IMAGES, shares=defects.Shares.only())
    truth = pq.read_table(tmp_path / "wrong/truth.parquet").to_pylist()
    clean = {sample.id: sample for sample in read_jsonl(tmp_path / "clean/vqa.jsonl")}
    assert {row["defect"] for row in truth} == {"wrong_answer"}
    assert len(truth) == round(0.2 * len(clean))
    assert pq.read_table(tmp_path / "clean/truth.parquet").num_rows == 0
    affected = {row["sample_id"] for row in truth}
    wrong = {sample.id: sample for sample in read_jsonl(tmp_path / "wrong/vqa.jsonl")}
    assert {key for key in clean if wrong[key] != clean[key]} == affected and wrong.keys() == clean.keys()
    for name in ("test.jsonl", "test_captions.jsonl"):
        assert (tmp_path / "clean" / name).read_bytes() == (folder / name).read_bytes()


def test_no_row_and_no_image_has_two_defects(rows, truth):
    owners = Counter(row["sample_id"] for listed in truth.values() for row in listed)
    assert set(owners.values()) == {1}
    assert set(owners) <= set(rows)
    # Wrong and contradictory answers may share an image with each other, with nothing else.
    defect_of_image = defaultdict(set)
    for name, listed in truth.items():
        for row in listed:
            kind = "answers" if name in ("wrong_answer", "contradictory") else name
            defect_of_image[rows[row["sample_id"]].image[0]].add(kind)
            if name == "near_duplicate":
                defect_of_image[rows[row["twin_id"]].image[0]].add(kind)
    assert all(len(kinds) == 1 for kinds in defect_of_image.values())


def test_rows_without_truth_are_as_in_the_package(folder, rows, truth):
    affected = {row["sample_id"] for listed in truth.values() for row in listed}
    questions = {f"easy_vqa/train/{one.number}": one for one in load_questions("train", IMAGES)}
    assert set(questions) == {name for name in rows if name.rsplit("/", 1)[1].isdigit()}
    assert all(name in affected for name in set(rows) - set(questions))
    for name, question in questions.items():
        sample = rows[name]
        assert (sample.question, sample.image) == (question.text, (f"images/train/{question.image_id}.png",))
        assert sample.meta["question_type"] == question_type(question.text)
        if name not in affected:
            assert sample.answers == (question.answer,) == (sample.answer,)
            assert (folder / sample.image[0]).read_bytes() == original("train", question.image_id)


def test_injected_rows_lie_beside_and_far_from_their_originals(rows, truth):
    position = {name: number for number, name in enumerate(rows)}
    gaps = [position[row["sample_id"]] - position[row["twin_id"]] for row in truth["near_duplicate"]]
    assert any(gap == 1 for gap in gaps)
    assert any(abs(gap) > len(rows) / 10 for gap in gaps)
    injected = [position[name] for name in rows if not name.rsplit("/", 1)[1].isdigit()]
    assert np.histogram(injected, bins=4, range=(0, len(rows)))[0].min() > 0


def test_blurred_images_are_the_originals_blurred(folder, rows, truth):
    for row in truth["blurred"]:
        path = rows[row["sample_id"]].image[0]
        source = Image.open(PACKAGED["train"][int(Path(path).stem)])
        expected = np.asarray(source.filter(ImageFilter.GaussianBlur(row["detail"]["sigma"])))
        assert np.array_equal(np.asarray(Image.open(folder / path)), expected)
        assert 1.5 <= row["detail"]["sigma"] <= 3.0


def test_corrupt_files_are_what_the_truth_says(folder, rows, truth):
    for row in truth["missing"]:
        assert not (folder / rows[row["sample_id"]].image[0]).exists()
    for row in truth["empty"]:
        assert (folder / rows[row["sample_id"]].image[0]).read_bytes() == b""
    for row in truth["not_an_image"]:
        with pytest.raises(UnidentifiedImageError):
            Image.open(folder / rows[row["sample_id"]].image[0])
    for row in truth["truncated"]:
        path = folder / rows[row["sample_id"]].image[0]
        assert original("train", path.stem).startswith(path.read_bytes())
        with pytest.raises((OSError, SyntaxError)), Image.open(path) as image:
            image.load()
    for row in truth["wrong_extension"]:
        path = folder / rows[row["sample_id"]].image[0]
        image = Image.open(path)
        image.load()
        assert (path.suffix, image.format) == (".png", "JPEG")


def test_near_duplicates_repeat_question_and_answer_about_other_bytes_of_the_same_image(folder, rows, truth):
    treatments = set()
    for row in truth["near_duplicate"]:
        copy, source = rows[row["sample_id"]], rows[row["twin_id"]]
        assert (copy.question, copy.answers) == (source.question, source.answers)
        one, other = (folder / sample.image[0] for sample in (copy, source))
        assert Image.open(one).size != Image.open(other).size or not np.array_equal(
            np.asarray(Image.open(one).convert("RGB")), np.asarray(Image.open(other))
        )
        assert np.abs(pixels(one.read_bytes()) - pixels(other.read_bytes())).mean() < 6
        treatments.add(row["detail"]["treatment"])
    assert len(treatments) > 1


def test_leaked_rows_are_test_rows_about_test_images(folder, rows, truth):
    test = {sample.id: sample for sample in read_jsonl(folder / "test.jsonl")}
    for row in truth["leaked"]:
        here, there = rows[row["sample_id"]], test[row["twin_id"]]
        assert (here.question, here.answers) == (there.question, there.answers)
        one, other = ((folder / sample.image[0]).read_bytes() for sample in (here, there))
        assert (one == other) == (row["detail"]["treatment"] == "identical")
        assert np.abs(pixels(one) - pixels(other)).mean() < 6


def test_every_treatment_of_a_leak_occurs():
    data = original("test", 0)
    drawn = Counter(defects.leaked(data, random.Random(seed)).detail["treatment"] for seed in range(60))
    assert set(drawn) == {"identical", "jpeg", "webp", "resized"}


def test_wrong_answers_have_the_right_type(rows, truth):
    questions = {f"easy_vqa/train/{one.number}": one for one in load_questions("train", IMAGES)}
    for row in truth["wrong_answer"]:
        sample, right = rows[row["sample_id"]], questions[row["sample_id"]].answer
        assert row["detail"] == {"right_answer": right, "wrong_answer": sample.answer}
        assert sample.answer != right
        assert sample.answer in answers_of(question_type(sample.question))
        assert sample.answers == (sample.answer,)


def test_contradictory_rows_come_in_pairs_that_differ_in_the_answer_only(rows, truth):
    twins = {row["sample_id"]: row["twin_id"] for row in truth["contradictory"]}
    for name, twin in twins.items():
        assert twins[twin] == name
        one, other = rows[name], rows[twin]
        assert (one.image, one.question) == (other.image, other.question)
        assert one.answer != other.answer


def test_the_test_split_is_the_packages_own(folder):
    questions = load_questions("test", TEST_IMAGES)
    samples = list(read_jsonl(folder / "test.jsonl"))
    assert [(one.id, one.question, one.answers) for one in samples] == [
        (f"easy_vqa/test/{question.number}", question.text, (question.answer,)) for question in questions
    ]
    assert {one.meta["question_type"] for one in samples} == {"yes_no", "color", "shape"}
    for image_id in range(TEST_IMAGES):
        assert (folder / f"images/test/{image_id}.png").read_bytes() == original("test", image_id)


def test_captions_say_what_the_questions_prove_about_intact_images(folder, truth, rows):
    spoiled = {rows[row["sample_id"]].image[0] for name in (*defects.CORRUPT, "blurred") for row in truth[name]}
    captions = pq.read_table(folder / "captions.parquet").to_pylist()
    captions += [
        {"id": one.id, "image": one.image[0], "question": one.question, "answers": list(one.answers)}
        for one in read_jsonl(folder / "test_captions.jsonl")
    ]
    assert len({row["id"] for row in captions}) == len(captions) > IMAGES / 2
    asked = {split: by_image(load_questions(split, None)) for split in ("train", "test")}
    for row in captions:
        split, image_id = row["id"].split("/")[1:]
        known = facts((one.text, one.answer) for one in asked[split][int(image_id)])
        assert row["image"] == f"images/{split}/{image_id}.png"
        assert row["image"] not in spoiled
        assert (folder / row["image"]).read_bytes() == original(split, image_id)
        for reference in row["answers"]:
            named = set(reference.replace(",", "").split()) & set(COLOURS + SHAPES)
            assert named == {known.colour, known.shape}


def test_only_some_kinds_of_question(tmp_path):
    """Colours and shapes alone: both splits, with defects in the answers, whose rows keep their ids."""
    make_dataset(tmp_path / "some", images=IMAGES, kinds=["color", "shape"])
    make_dataset(tmp_path / "all", images=IMAGES, shares=defects.Shares.only())
    for name in ("vqa.jsonl", "test.jsonl"):
        rows = [json.loads(line) for line in (tmp_path / "some" / name).read_text().splitlines()]
        assert {row["meta"]["question_type"] for row in rows} == {"color", "shape"}
    known = {row["id"]: row for row in map(json.loads, (tmp_path / "all/vqa.jsonl").read_text().splitlines())}
    some = {row["id"]: row for row in map(json.loads, (tmp_path / "some/vqa.jsonl").read_text().splitlines())}
    kept = {one for one, row in known.items() if row["meta"]["question_type"] != "yes_no"}
    assert kept <= some.keys()
    truth = pq.read_table(tmp_path / "some/truth.parquet").to_pylist()
    wrong = {row["sample_id"] for row in truth if row["defect"] == "wrong_answer"}
    changed = {one for one in kept if some[one]["conversations"] != known[one]["conversations"]}
    assert wrong and changed == wrong
