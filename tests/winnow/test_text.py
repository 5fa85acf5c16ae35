"""Text for people."""

import pytest

from winnow.text import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (12345, "12,345 rows")])
def test_a_number_and_its_noun_agree(number, text):
    assert counted(number, "row") == text
