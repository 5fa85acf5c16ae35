"""Progress in a log."""

from winnow.progress import track


def test_nothing_to_do_prints_nothing(capsys):
    assert list(track([], "opening images", 0)) == [] and capsys.readouterr().err == ""
    assert list(track("ab", "opening images", 2)) == ["a", "b"]
    assert capsys.readouterr().err.startswith("opening images: 2/2, ")
