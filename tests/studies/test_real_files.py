"""The study of published files, on files made here."""

import json
from pathlib import Path

import pytest

from curate.exports import export as exports
from studies.real_files import check_file, table_of


def _rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_rows_are_counted_and_come_back(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "<video>What?"}, {"role": "assistant", "content": "A ball."}]
    file = _rows(tmp_path / "rows.jsonl", [{"messages": turns, "videos": ["v.mp4"]}, {"text": "no question"}])
    result = check_file(file, tmp_path, tmp_path)
    assert (result.rows, result.kept, result.changed, result.unfit, result.reread) == (2, 1, 0, 0, 0)
    assert result.why


@pytest.mark.slow
def test_a_changed_row_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _rows(tmp_path / "rows.jsonl", [{"instruction": "Say it.", "output": "It."}])
    write = exports.FORMATS["original"].write

    def careless(rows: object, target: object) -> object:
        parts = write(rows, target)  # type: ignore[arg-type]
        for path in target.folder.rglob("rows.jsonl"):  # type: ignore[attr-defined]
            path.write_text(path.read_text().replace("It.", "It"))
        return parts

    monkeypatch.setitem(
        exports.FORMATS, "original", exports.FORMATS["original"].__class__(careless, {"": ""}, images=False)
    )
    assert check_file(file, tmp_path, tmp_path).changed == 1


def test_the_table_has_a_line_a_file(tmp_path: Path) -> None:
    assert table_of({}, {}).count("\n") == 1
