from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.jobs.log import SENT_BYTES, Progress, as_shown, progress, tail


def _terminal(text: str) -> str:
    """One character after the other, as slow as can be: a line that is drawn again replaces what stood there."""
    lines, line, returned = [], "", False
    for each in text:
        if each == "\n":
            lines.append(line)
            line, returned = "", False
        elif each == "\r":
            returned = True
        else:
            line, returned = (each if returned else line + each), False
    return "\n".join([*lines, line])


@given(st.text(st.sampled_from("ab \r\n"), max_size=40))
def test_progress_bars_show_their_last_drawing(text: str) -> None:
    assert as_shown(text) == "\n".join(line.rstrip() for line in _terminal(text).split("\n"))


@given(st.text(max_size=60))
def test_no_control_character_reaches_the_page(text: str) -> None:
    assert all(each.isprintable() or each == "\n" for each in as_shown(text))


def test_colours_are_left_out() -> None:
    assert as_shown("\x1b[1;31merror\x1b[0m: \x1b]8;;http://x\x07link\x1b]8;;\x07\ta") == "error: link     a"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("measure images: 1,200/4,000, 80.1/s, 15 s, 35 s left", Progress("measure images", 1200, 4000, "35 s")),
        ("read: 6, 3,260.4/s, 0 s", None),
        (" 12%|█▎        | 40/320 [00:12<01:30,  3.1it/s]", Progress("", 40, 320, "01:30")),
        ("Loading weights: 100%|██████████| 5/5 [00:00<00:00, 9it/s]", Progress("Loading weights", 5, 5, "00:00")),
        ("on 29/11/2026, see a/3/4, 1.5/2.5", None),
        ("7/3 is no share, 0/0 neither", None),
    ],
)
def test_progress_is_read_off_the_log(line: str, expected: Progress | None) -> None:
    assert progress(f"first 1/2\n{line}\nno count here") == (expected or Progress("first", 1, 2, ""))


def test_the_last_count_is_the_one_shown() -> None:
    found = progress("read: 1/2\nread: 2/2\n")
    assert found and found.done == 2 and found.share == 1.0


def test_only_the_end_of_a_long_log_is_sent(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert tail(log) == ""
    log.write_text("first\n" + "é" * 300_000 + "\nlast\n")
    shown = tail(log)
    assert len(shown.encode()) <= SENT_BYTES + 100 and "first" not in shown
    assert shown.startswith("… (the whole log") and shown.endswith("last\n")
    log.write_text("".join(f"line {number}\n" for number in range(1000)))
    assert tail(log).count("\n") == 400 and "line 999" in tail(log)
