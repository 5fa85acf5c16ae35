"""Rows asked several times: rotations of options, samples, turns of a conversation."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.store import base_id
from evalsuite.tasks.load import load_task
from evalsuite.tasks.options import option_lines
from evalsuite.tasks.repeats import rotations
from evalsuite.tasks.rows import TaskRow
from evalsuite.tasks.spec import TaskSpec
from winnow.errors import UserError

CIRCULAR = {"extraction": {"kind": "letter"}, "options": "options", "repeat": "circular"}


def spec_of(location: Path | str = "nowhere.jsonl", **more: object) -> TaskSpec:
    return TaskSpec.model_validate(
        {"name": "t", "source": {"location": str(location)}, "metrics": ["accuracy"], **more}
    )


def data_of(folder: Path, *rows: dict) -> Path:
    path = folder / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def record(name: str, *turns: str, **more: object) -> dict:
    names = ["human", "gpt"] * len(turns)
    return {"id": name, "conversations": [{"from": a, "value": b} for a, b in zip(names, turns, strict=False)], **more}


@given(
    st.lists(st.text("abc <image>", min_size=1, max_size=8).map(str.strip).filter(bool), min_size=2, max_size=8),
    st.data(),
)
def test_every_rotation_asks_for_the_same_option(choices: list[str], data: st.DataObject) -> None:
    count = len(choices)
    place = data.draw(st.integers(0, count - 1))
    letter = "ABCDEFGH"[place]
    marked = option_lines(choices).count("<image>")
    images = tuple(f"{number}.png" for number in range(marked + 2))
    prompt = f"<image>which?\n{option_lines(choices)}\nOne letter. <image>"
    row = TaskRow("x", images, "which?", prompt, (letter,), {}, tuple(choices))
    asked = rotations(row, spec_of(**CIRCULAR))
    assert [one.sample_id for one in asked] == ["x", *(f"x#{number}" for number in range(1, count))]
    assert len({one.references[0] for one in asked}) == count, "the right letter stands everywhere once"
    for number, one in enumerate(asked):
        right = "ABCDEFGH".index(one.references[0])
        assert one.choices[right] == choices[place]
        assert one.prompt == f"<image>which?\n{option_lines(one.choices)}\nOne letter. <image>"
        assert sorted(one.images) == sorted(images) and one.images[0] == images[0] and one.images[-1] == images[-1]
        assert (one.repeat, base_id(one.sample_id, one.repeat)) == (number, "x")


def test_images_of_options_move_with_them() -> None:
    prompt = "<image>\nA. <image>\nB. <image>"
    row = TaskRow("x", ("q", "a", "b"), "?", prompt, ("B",), {}, ("<image 1>", "<image 2>"))
    assert rotations(row, spec_of(**CIRCULAR))[1].images == ("q", "b", "a")


def test_options_that_the_prompt_does_not_show_cannot_be_rotated(tmp_path: Path) -> None:
    data = data_of(tmp_path, record("1", "which?", "A", meta={"options": ["cat", "dog"]}))
    with pytest.raises(
        UserError, match=r"task t: row '.*1': its prompt does not show the options .* write \{options\}"
    ):
        load_task(spec_of(data, **CIRCULAR), limit=None, seed=0)
    task = load_task(spec_of(data, prompt="{question}\n{options}", **CIRCULAR), limit=None, seed=0)
    assert [(row.prompt, row.references) for row in task.rows] == [
        ("which?\nA. cat\nB. dog", ("A",)), ("which?\nA. dog\nB. cat", ("B",)),
    ]  # fmt: skip


def test_options_in_the_question_are_not_shown_twice(tmp_path: Path) -> None:
    data = data_of(tmp_path, record("1", "which?\nA. cat\nB. dog", "A", meta={"options": ["cat", "dog"]}))
    spec = spec_of(data, prompt="{question}\nOptions:\n{options}", extraction={"kind": "letter"}, options="options")
    assert load_task(spec, limit=None, seed=0).rows[0].prompt == "which?\nOptions:\nA. cat\nB. dog"


def test_a_limit_draws_rows_with_all_their_repeats(tmp_path: Path) -> None:
    data = data_of(tmp_path, *(record(str(number), f"{number}?", "red") for number in range(20)))
    spec = spec_of(data, samples=3, generation={"temperature": 0.7})
    rows = load_task(spec, limit=4, seed=1).rows
    assert len(rows) == 12
    assert [row.repeat for row in rows] == [0, 1, 2] * 4
    assert [row.sample_id for row in rows[:3]] == [rows[0].group, f"{rows[0].group}#1", f"{rows[0].group}#2"]
    plain = load_task(spec_of(data), limit=4, seed=1).rows
    assert [row.sample_id for row in plain] == [row.group for row in rows[::3]]


def test_a_limit_keeps_groups_whole(tmp_path: Path) -> None:
    data = data_of(tmp_path, *(record(str(n), f"{n}?", "red", meta={"figure": n // 3}) for n in range(30)))
    spec = spec_of(data, group="figure")
    rows = load_task(spec, limit=10, seed=1).rows
    groups = [row.group for row in rows]
    assert len(rows) == 9 and groups == sorted(groups, key=int) and {groups.count(group) for group in groups} == {3}
    with pytest.raises(UserError, match="a limit of 2 rows holds no whole group; the smallest has 3"):
        load_task(spec, limit=2, seed=1)


def test_ids_of_repeats_that_the_source_has_are_refused(tmp_path: Path) -> None:
    data = data_of(tmp_path, record("x", "a?", "red"), record("x#1", "b?", "red"))
    with pytest.raises(UserError, match=r"'.*x#1' would be the id of a repeated row"):
        load_task(spec_of(data, samples=2), limit=None, seed=0)
    assert len(load_task(spec_of(data), limit=None, seed=0).rows) == 2


def test_each_turn_of_a_conversation_is_a_row(tmp_path: Path) -> None:
    turns = ("<image>what is it?", "a dog", "what <image> colour?", "brown", "and now?")
    talk = record("x", *turns, image=["a.png", "b.png"])
    talk["conversations"].insert(0, {"from": "system", "value": "Be brief."})
    data = data_of(tmp_path, talk)
    first, second = load_task(spec_of(data, prompt="{question} One word.", system="You see."), limit=None, seed=0).rows
    assert (first.sample_id, first.prompt, first.earlier) == (first.group, "<image>what is it? One word.", ())
    assert (second.sample_id, second.repeat, second.group) == (f"{first.group}#1", 1, first.group)
    assert second.earlier == (first.prompt,) and second.prompt == "what <image> colour? One word."
    assert (first.references, second.references) == (("a dog",), ("brown",))
    assert (first.images, second.images) == (("a.png",), ("a.png", "b.png"))
    assert first.system == second.system == "You see.\nBe brief."
    assert first.question == "what is it?" and second.question == "what  colour?"
    (only,) = load_task(spec_of(data, turns="first"), limit=None, seed=0).rows
    assert (only.prompt, only.images, only.earlier) == ("<image>what is it?", ("a.png",), ())


def test_conversations_are_not_sampled_or_rotated(tmp_path: Path) -> None:
    data = data_of(tmp_path, record("x", "a?", "red", "b?", "blue"))
    with pytest.raises(
        UserError, match="a conversation of several questions, which samples does not ask; `turns: first`"
    ):
        load_task(spec_of(data, samples=2), limit=None, seed=0)
    assert len(load_task(spec_of(data, samples=2, turns="first"), limit=None, seed=0).rows) == 2


def test_a_prompt_without_the_question_shows_all_images_in_front(tmp_path: Path) -> None:
    data = data_of(tmp_path, record("1", "<image>which <image>?", "A", image=["a.png", "b.png"]))
    (row,) = load_task(spec_of(data, prompt="Answer what the images ask."), limit=None, seed=0).rows
    assert (row.prompt, row.images) == ("Answer what the images ask.", ("a.png", "b.png"))


@pytest.mark.parametrize(
    ("shown", "turned"),
    [
        ("(A) cat\n(B) dog", "(A) dog\n(B) cat"),
        ("Options: A: cat, B: dog", "Options: A: dog, B: cat"),
        ("A) cat B) dog", "A) dog B) cat"),
    ],
)
def test_options_are_rotated_in_the_form_that_the_benchmark_shows(tmp_path: Path, shown: str, turned: str) -> None:
    data = data_of(tmp_path, record("1", f"which?\n{shown}\nSay.", "A", meta={"options": ["cat", "dog"]}))
    _, second = load_task(spec_of(data, **CIRCULAR), limit=None, seed=0).rows
    assert (second.prompt, second.question, second.references) == (
        f"which?\n{turned}\nSay.", f"which?\n{turned}\nSay.", ("B",),
    )  # fmt: skip
