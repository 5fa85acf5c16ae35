"""Progress in a log."""

from winnow import progress
from winnow.progress import track


def test_nothing_to_do_prints_nothing(capsys):
    assert list(track([], "opening images", 0)) == [] and capsys.readouterr().err == ""
    assert list(track("ab", "opening images", 2)) == ["a", "b"]
    assert capsys.readouterr().err.startswith("opening images: 2/2, ")


def test_the_last_item_is_told_once(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    assert list(track("abc", "opening images", 3)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"opening images: {done}/3" for done in (1, 2, 3)]
