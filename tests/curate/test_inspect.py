import io
import json

from rich.console import Console

from curate.inspect import inspect_location, show_inspection
from tests.curate.pictures import encoded, noise, write


def row(number, image, answer="a", **extra):
    turns = [{"from": "human", "value": f"<image>\nq{number}"}, {"from": "gpt", "value": answer}]
    return {"id": str(number), "image": image, "conversations": turns, **extra}


def test_what_is_wrong_is_counted(tmp_path):
    write(tmp_path / "good.png", noise())
    write(tmp_path / "cut.png", encoded(noise())[:60])
    write(tmp_path / "named.jpg", noise(seed=1))
    rows = [
        row(0, "good.png"),
        row(1, "cut.png", ""),
        row(2, "named.jpg", "I'm sorry, but no."),
        row(2, "none.png"),
        row(3, "good.png", "q3"),
    ]
    rows += [
        {"id": "text", "conversations": [{"from": "human", "value": "hi"}]},
        row(5, ["good.png", "cut.png"], split="val"),
    ]
    path = write(tmp_path / "rows.jsonl", "\n".join([*map(json.dumps, rows), "{broken"]).encode())
    found = inspect_location(str(path))
    assert (found.layout, found.image_root) == ("conversations", tmp_path)
    assert (found.rows, found.bad_rows, found.text_only, found.several_images, found.images) == (7, 1, 1, 1, 4)
    assert found.splits == {"": 6, "val": 1}
    assert found.row_faults == {
        "empty_answer": 2, "refusal": 1, "repeated_id": 1, "echoed_answer": 1, "not_alternating": 1,
        "markers_mismatch": 1,
    }  # fmt: skip
    assert {name: fault[:2] for name, fault in found.image_faults.items()} == {
        "truncated": (1, "cut.png"),
        "wrong_extension": (1, "named.jpg"),
        "missing": (1, "none.png"),
    }
    assert [sample.id for sample in found.examples] == ["rows/0", "rows/1", "rows/2"]
    text = shown(found)
    for words in ("conversations", "rows/1", "truncated", "1 of 4", "rows.jsonl:8", "refusal"):
        assert words in text


def test_the_same_images_are_checked_every_time(tmp_path):
    for number in range(30):
        write(tmp_path / f"{number}.png", b"")
    path = write(tmp_path / "rows.json", json.dumps([row(n, f"{n}.png") for n in range(30)]).encode())
    first = inspect_location(str(path), check_images=10)
    path.write_text(json.dumps([row(n, f"{n}.png") for n in reversed(range(30))]))
    second = inspect_location(str(path), check_images=10)
    assert first.images_checked == 10
    assert first.image_faults == second.image_faults == {"empty": (10, first.image_faults["empty"][1], "")}


def test_nothing_wrong_and_hostile_text_is_text(tmp_path):
    write(tmp_path / "good.png", noise())
    path = write(tmp_path / "rows.json", json.dumps([row(0, "good.png", "[bold red]x[/] \x1b[31m")]).encode())
    text = shown(inspect_location(str(path), "conversations"))
    assert "nothing found (1 images decoded)" in text
    assert "[bold red]x[/]" in text
    assert "\x1b[31m" not in text


def shown(found):
    console = Console(file=io.StringIO(), width=200, color_system=None)
    show_inspection(found, console)
    return console.file.getvalue()
