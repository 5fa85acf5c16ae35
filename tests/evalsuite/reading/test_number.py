"""Numbers in replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.reading.number import read_number

CASES = {
    "42": "42",
    "42.": "42",
    "The answer is 42": "42",
    "1,234": "1234",
    "1,234.5": "1234.5",
    "1.234,5": "1234.5",
    "0,5": "0.5",
    "3,5": "3.5",
    "$5": "5",
    "$1,200": "1200",
    "5%": "5",
    "12.5 %": "12.5",
    "3/4": "0.75",
    "\\frac{3}{4}": "0.75",
    "\\boxed{12}": "12",
    "three": "3",
    "twenty-three": "23",
    "two hundred and five": "205",
    "one hundred": "100",
    "1.2 million": "1200000",
    "-5": "-5",
    "−5": "-5",
    "1e3": "1000",
    "1.5 × 10^3": "1500",
    "There are 3 apples.": "3",
    "5 + 3 = 8": "8",
    "First 3, then 5. The answer is 8 apples.": "8",
    "There are 3 apples in image 2.": "3",
    "So 5+2=7.\nTherefore, the total is 7": "7",
    "no number": None,
    "": None,
    "Answer: 1 234": "1234",
    "12 cm": "12",
    "A4": None,
    "2010": "2010",
    "1.234.567": "1234567",
    "Réponse : 3,5": "3.5",
    "答案是42": "42",
    "x = 3, y = 4. Answer: 7": "7",
    "€ 3.50": "3.5",
    "about 7": "7",
    ".5": "0.5",
    "0": "0",
    "-0": "0",
    "Answer: -2.50": "-2.5",
    "1/3": "0.333333333333",
    "The answer is \\( 12 \\)": "12",
    "Final Answer: $12$": "12",
    "45°": "45",
    "3:00": "3",
}


@pytest.mark.parametrize("reply", CASES)
def test_replies(reply: str) -> None:
    assert read_number(reply) == CASES[reply]


@given(
    st.integers(-(10**12), 10**12),
    st.sampled_from(["{}", "{:,}", "The answer is {:,}.", "Answer: {} cm", "\\boxed{{{}}}"]),
)
def test_whole_numbers_come_back(number: int, form: str) -> None:
    assert read_number(form.format(number)) == str(number)


@given(st.text(max_size=80))
def test_any_text_gives_a_number_or_nothing(reply: str) -> None:
    found = read_number(reply)
    assert found is None or isinstance(float(found), float)
