"""What cannot be trained is written down with its reason; the rest trains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.data.chat import join_rows
from finetune.data.collate import Collator
from finetune.data.preflight import check_rows
from finetune.data.rows import open_rows
from finetune.recipe import TrainRecipe
from tests.finetune.toys import build_processor, record, write_rows
from winnow.errors import UserError
from winnow.vlm.inputs import InputSettings


def talk(number: int, *turns: tuple, image: str | None = "good.png") -> dict:
    """A record of turns (role, text) or (role, text, loss)."""
    row = record(number, image, "q", "a")
    return {**row, "conversations": [dict(zip(("from", "value", "loss"), turn, strict=False)) for turn in turns]}


BAD = {
    "no_answer": talk(1, ("user", "red?")),
    "roles_do_not_alternate": talk(2, ("user", "red?"), ("assistant", "yes"), ("assistant", "no")),
    "empty_answer": talk(3, ("user", "red?"), ("assistant", " \n")),
    "markers_do_not_match": talk(4, ("user", "<image><image> red?"), ("assistant", "yes")),
    "control_token": talk(5, ("user", "red?<|im_end|>\n<|im_start|>system"), ("assistant", "yes")),
    "too_long": talk(6, ("user", "red? " * 200), ("assistant", "yes")),
}
STRAY = talk(7, ("user", "red?"), ("assistant", "<image> yes"))
LATE_SYSTEM = talk(8, ("user", "red?"), ("system", "be brief"), ("assistant", "yes"))
GOOD = [
    talk(20, ("user", "<image>\nred?"), ("assistant", "yes")),
    talk(21, ("user", "red?"), ("assistant", "yes"), image=None),
    talk(22, ("system", "be brief"), ("user", "red?"), ("assistant", "yes"), ("user", "sure?"), ("assistant", "yes")),
    talk(23, ("user", "is <image> red?"), ("assistant", "yes"), image="grey.png"),
]


def carrying(number: int, **meta: object) -> dict:
    return {**talk(number, ("user", "red?"), ("assistant", "yes"), image=None), "meta": meta}


LOST = {
    "unwanted_answer": carrying(30, label=False),
    "not_only_images": carrying(31, videos=["a.mp4"]),
    "tool_call": talk(32, ("user", "red?"), ("tool_call", "{}"), ("tool_response", "{}"), ("assistant", "yes")),
    "tools_not_shown": talk(
        36, ("user", "red?"), ("tool_call", '{"name": "zoom"}'), ("tool_response", "{}"), ("assistant", "yes")
    ),
    "unresolved_marker": {
        **talk(33, ("user", "red?"), ("assistant", "<bbox>")), "meta": {"objects": {"bbox": [[1, 2, 3, 4]]}}
    },
    "no_answer": talk(34, ("user", "red?"), ("assistant", "yes", False)),
    "trained_question": talk(35, ("user", "red?", True), ("assistant", "yes")),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    Image.new("RGB", (16, 16), (250, 0, 0)).save(tmp_path / "good.png")
    Image.new("L", (16, 16)).save(tmp_path / "grey.png")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.effect_noise((64, 64), 90).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    (tmp_path / "text.png").write_text("no image")
    return tmp_path


def checked(folder: Path, records: list[dict], **changes):
    path = write_rows(folder / "rows.jsonl", records)
    rows = open_rows(TrainRecipe(name="a", model="m", data=path))
    options = {
        "max_length": 100,
        "settings": InputSettings(),
        "max_reject": 1.0,
        "sample_answers": False,
        "workers": 1,
        **changes,
    }
    result = check_rows(rows, build_processor(), rejects=folder / "rejects.jsonl", **options)
    rejects = [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
    return rows, result, rejects


def test_every_reason(folder):
    images = ["missing.png", "../good.png", "empty.png", "cut.jpg", "text.png"]
    broken = [talk(40 + n, ("user", "red?"), ("assistant", "yes"), image=name) for n, name in enumerate(images)]
    records = [*BAD.values(), STRAY, LATE_SYSTEM, *broken, *GOOD]
    _, result, rejects = checked(folder, records)
    reasons = {line["sample_id"]: line["reason"] for line in rejects}
    assert {reasons[row["id"]]: row["id"] for row in BAD.values()} == {name: row["id"] for name, row in BAD.items()}
    assert reasons[STRAY["id"]] == "markers_do_not_match"
    assert reasons[LATE_SYSTEM["id"]] == "roles_do_not_alternate"
    details = [line["detail"].split()[1] for line in rejects if line["reason"] == "image"]
    assert details == ["missing", "outside_root", "empty", "truncated", "not_an_image"]
    assert [records[row]["id"] for row in result.accepted.row] == [row["id"] for row in GOOD]
    assert sum(result.rejected.values()) == len(rejects) == len(records) - len(GOOD)


def test_rows_whose_meaning_would_be_lost_are_not_trained(folder):
    _, result, rejects = checked(folder, [*LOST.values(), *GOOD])
    assert [(line["sample_id"], line["reason"]) for line in rejects] == [(row["id"], why) for why, row in LOST.items()]
    assert len(result.accepted.row) == len(GOOD)


def test_unreadable_lines_cost_themselves(folder):
    path = write_rows(folder / "rows.jsonl", GOOD)
    path.write_text(path.read_text() + "{broken\n\n[1]\n" + json.dumps({"id": "x"}) + "\n")
    rows = open_rows(TrainRecipe(name="a", model="m", data=path))
    result = check_rows(
        rows, build_processor(), settings=InputSettings(), max_length=100, max_reject=1.0, sample_answers=False,
        workers=1,
        rejects=folder / "rejects.jsonl",
    )  # fmt: skip
    assert result.rejected == {"unreadable_row": 3}
    assert len(result.accepted.row) == len(GOOD)


def test_token_counts_are_those_of_the_collator(folder):
    rows, result, _ = checked(folder, GOOD)
    collator = Collator(build_processor(), folder)
    counted = [int(collator([join_rows([rows[row]], [row])])["attention_mask"].sum()) for row in result.accepted.row]
    assert result.accepted.tokens.tolist() == counted
    assert result.accepted.image_tokens.tolist() == [4, 0, 4, 4]  # five features, one placeholder is text


def test_only_rows_about_the_same_images_can_be_joined(folder):
    again = talk(50, ("user", "blue?"), ("assistant", "no"))
    _, result, _ = checked(folder, [*GOOD, again])
    first, text_only, long, inside, last = result.accepted.group
    assert first == last >= 0
    assert {text_only, long, inside} == {-1}


def test_all_drawn_answers_are_checked(folder):
    row = {**GOOD[0], "answers": ["yes", "<|im_end|>"]}
    assert checked(folder, [row, GOOD[1]])[1].rejected == {}
    assert checked(folder, [row, GOOD[1]], sample_answers=True)[1].rejected == {"control_token": 1}
    long = {**GOOD[0], "answers": ["yes", "yes " * 200]}
    assert checked(folder, [long, GOOD[1]], sample_answers=True)[1].rejected == {"too_long": 1}


def test_too_many_rejects(folder):
    with pytest.raises(UserError, match=r"1 of 5 rows cannot be trained \(empty_answer 1\), max_reject is 10%"):
        checked(folder, [*GOOD, BAD["empty_answer"]], max_reject=0.1)
    with pytest.raises(UserError, match=f"for example {BAD['empty_answer']['id']}: an assistant turn is empty"):
        checked(folder, [*GOOD, BAD["empty_answer"]], max_reject=0.1)
    with pytest.raises(UserError, match="1 of 1 rows"):
        checked(folder, [BAD["empty_answer"]], max_reject=1.0)


def test_repeated_id(folder):
    with pytest.raises(UserError, match=r"occurs twice, in .*rows.jsonl row 1 and .*rows.jsonl row 2"):
        checked(folder, [GOOD[0], GOOD[0]])


def test_several_processes_find_the_same(folder):
    for number in range(600):
        Image.new("RGB", (16, 16), (number % 250, 0, 0)).save(folder / f"n{number}.png")
    (folder / "n7.png").write_bytes(b"")
    records = [talk(n, ("user", "red?"), ("assistant", "yes"), image=f"n{n}.png") for n in range(600)]
    one, two = checked(folder, records, workers=1), checked(folder, records, workers=2)
    assert one[2] == two[2] and len(one[2]) == 1
    assert all(np.array_equal(left, right) for left, right in zip(
        vars(one[1].accepted).values(), vars(two[1].accepted).values(), strict=True))  # fmt: skip


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "nowhere", "no such folder; make it with `curate run RECIPE`"),
        (lambda folder: folder, "has no manifest.json, so its run did not finish"),
        (lambda folder: write_rows(folder / "empty.jsonl", []), "holds no rows"),
    ],
)
def test_bad_data_locations(folder, make, words):
    with pytest.raises(UserError, match=words):
        open_rows(TrainRecipe(name="a", model="m", data=make(folder)))


def test_curated_folder(folder):
    write_rows(folder / "samples.jsonl", GOOD)
    (folder / "manifest.json").write_text(json.dumps({"image_root": str(folder)}))
    rows = open_rows(TrainRecipe(name="a", model="m", data=folder))
    assert len(rows) == len(GOOD) and rows.image_root == folder.resolve()
    assert rows[2].id == GOOD[2]["id"]
