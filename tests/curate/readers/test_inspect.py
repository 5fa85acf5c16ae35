import base64
import io
import json

from rich.console import Console

from curate.readers import LAYOUTS
from curate.readers.inspect import inspect_location
from curate.report.inspection import show_inspection, sources_table
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, noise, write
from tests.curate.readers import published


def row(number, image, answer="a", **extra):
    turns = [{"from": "human", "value": f"<image>\nq{number}"}, {"from": "gpt", "value": answer}]
    return {"id": str(number), "image": image, "conversations": turns, **extra}


def inspected(location, check_images=200, **options):
    return inspect_location(SourceSettings(location=str(location), **options), check_images=check_images)


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
        {"id": 6},
        {"id": 7},
    ]
    path = write(tmp_path / "rows.jsonl", "\n".join([*map(json.dumps, rows), "{broken"]).encode())
    found = inspected(path)
    assert (found.layout, found.image_root) == ("conversations", tmp_path)
    assert (found.rows, found.bad_rows, found.text_only, found.several_images, found.images) == (7, 3, 1, 1, 4)
    assert (found.unanswered, found.votes) == (1, (0, 0))
    assert found.splits == {"": 6, "val": 1}
    assert [(one.name, one.count, one.examples) for one in found.row_problems] == [
        ("bad row", 2, (f"{path}:8", f"{path}:9")),
        ("empty_answer", 1, ("rows/1",)),
        ("refusal", 1, ("rows/2",)),
        ("repeated_id", 1, ("rows/2",)),
        ("echoed_answer", 1, ("rows/3",)),
        ("markers_mismatch", 1, ("rows/val/5",)),
        ("bad row", 1, (f"{path}:10",)),
    ]
    assert {one.name: (one.count, one.examples[0].partition(":")[0]) for one in found.image_problems} == {
        "truncated": (1, "cut.png"),
        "wrong_extension": (1, "named.jpg"),
        "missing": (1, "none.png"),
    }
    assert [sample.id for sample in found.examples] == ["rows/0", "rows/1", "rows/2"]
    text = shown(found, width=400)  # no cell is wrapped, however long the path is
    for words in ("conversations", "rows/1", "truncated", "1 of 4", "rows.jsonl:10", "refusal", "2 of 10"):
        assert words in text


def test_the_same_images_are_checked_every_time(tmp_path):
    for number in range(30):
        write(tmp_path / f"{number}.png", b"")
    path = write(tmp_path / "rows.json", json.dumps([row(n, f"{n}.png") for n in range(30)]).encode())
    first = inspected(path, check_images=10)
    path.write_text(json.dumps([row(n, f"{n}.png") for n in reversed(range(30))]))
    second = inspected(path, check_images=10)
    assert first.images_checked == 10
    assert first.image_problems == second.image_problems
    assert [(one.name, one.count, len(one.examples)) for one in first.image_problems] == [("empty", 10, 3)]
    assert "10 of 30 were decoded" in shown(first)


def test_nothing_wrong_and_hostile_text_is_text(tmp_path):
    write(tmp_path / "good.png", noise())
    path = write(tmp_path / "rows.json", json.dumps([row(0, "good.png", "[bold red]x[/] \x1b[31m")]).encode())
    text = shown(inspected(path, layout="conversations"))
    assert "nothing found (1 image decoded)" in text
    assert "[bold red]x[/]" in text
    assert "\x1b[31m" not in text


def test_images_inside_the_file_and_on_the_web_are_looked_at_and_named(tmp_path):
    inside = f"data:image/png;base64,{base64.b64encode(encoded(noise())).decode()}"
    cut = f"data:image/png;base64,{base64.b64encode(encoded(noise())[:60]).decode()}"
    rows = [row(0, inside), row(1, cut), row(2, "https://example.org/a.png")]
    path = write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)).encode())
    found = inspected(path)
    assert found.images_checked == 3
    assert {one.name: one.count for one in found.image_problems} == {"truncated": 1, "remote_off": 1}
    assert "https://example.org/a.png" in shown(found)


def test_a_test_split_without_answers_is_not_wrong(tmp_path):
    path = published.vqa_v2(tmp_path, "test2015", annotations=None)
    found = inspected(path, check_images=0)
    assert (found.rows, found.unanswered, found.row_problems) == (3, 3, ())
    assert "rows without answers" in shown(found)


def test_votes_and_question_types_are_shown(tmp_path):
    found = inspected(published.vqa_v2(tmp_path), check_images=0)
    assert (found.votes, found.question_types) == ((10, 10), {"none of the above": 3})
    text = shown(found)
    assert found.also_read == (tmp_path / "v2_mscoco_val2014_annotations.json",)
    assert "Creative Commons Attribution 4.0" in text
    assert "none of the above 3" in text
    assert "answers a row" in text


def test_kinds_of_bad_rows_are_capped(tmp_path):
    rows = [{"id": 1, "conversations": [], letter: 1} for letter in "ab"]
    rows += [{"messages": [{"role": f"r{'x' * n}", "content": "t"}]} for n in range(30)]
    path = write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)).encode())
    found = inspected(path)
    assert sum(one.count for one in found.row_problems) == 32
    assert len(found.row_problems) <= 21


def test_every_layout_is_listed_with_an_example():
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(sources_table())
    text = console.file.getvalue()
    for name, layout in LAYOUTS.items():
        assert name in text
        assert layout.title.split()[0] in text


def shown(found, width=200):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show_inspection(found, console)
    return console.file.getvalue()


def test_the_last_lines_are_commands_that_read_it_alike(tmp_path):
    write(tmp_path / "my rows.jsonl", json.dumps(row(0, "good.png", extra=1)).encode())
    settings = SourceSettings(
        location=str(tmp_path / "my rows.jsonl"), layout="conversations", image_root=str(tmp_path)
    )
    printed = io.StringIO()
    show_inspection(inspect_location(settings), Console(file=printed, width=500))
    *_, run, init = printed.getvalue().splitlines()
    given = f"'{tmp_path}/my rows.jsonl' --as conversations --image-root {tmp_path}"
    assert run.startswith(f"next: curate run {given}  ") and init.startswith(f"next: curate init {given}  ")
    assert "extra" in printed.getvalue() and "rules may use meta.extra" in printed.getvalue()


def test_what_a_command_does_is_below_it_where_the_line_is_too_long(tmp_path):
    write(tmp_path / "rows.jsonl", json.dumps(row(0, "good.png")).encode())
    text = shown(inspected(tmp_path / "rows.jsonl", layout="conversations"), width=60)
    (at,) = [number for number, line in enumerate(text.splitlines()) if line.startswith("next: curate run")]
    assert text.splitlines()[at].endswith("--as conversations")
    assert text.splitlines()[at + 1].strip() == "curates it with the shipped policy"


def test_a_set_without_a_readable_row_is_not_to_be_curated(tmp_path):
    path = write(tmp_path / "rows.csv", b"caption,score\nhello,1\nworld,2\n")
    text = shown(inspected(path))
    assert "2 of 2" in text and "curate run" not in text and "curate init" not in text
    assert f"next: curate inspect {path} --columns ROLE=FIELD" in text


def test_text_of_the_dataset_cannot_steer_a_terminal(tmp_path):
    rows = [
        row(0, "no\x1b[2Jne.png", "\x9b31m a", extra="\x1b[1m"),
        {"id": 1, "role\x1b[0m": "x", "conversations": "\x1b[5m"},
    ]
    write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)).encode())
    printed = io.StringIO()
    show_inspection(inspected(tmp_path / "rows.jsonl"), Console(file=printed, width=120))
    assert all(each.isprintable() or each == "\n" for each in printed.getvalue())
    assert "no\\x1b[2Jne.png" in printed.getvalue()
