"""Numbers in replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.reading.number import read_number

CASES = {
    "The age gap between these two people is 10 years.": "10",
    "The total in 2014 was 100.4.": "100.4",
    "There are two bars with value below 40.": "2",
    "More than 7 people chose 4 objects.": "4",
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


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("three quarters", "0.75"),
        ("Two thirds of it", "0.666666666667"),
        ("one half", "0.5"),
        ("half of them", "0.5"),
        ("half past three", "3"),
        ("a third dog", None),
        ("the twenty-third", "20"),
        ("two and a half", "2.5"),
        ("1 1/2 cups", "1.5"),
        ("two dozen", "24"),
        ("a dozen", "12"),
        ("minus three", "-3"),
        ("negative 5", "-5"),
        ("50 %", "50"),
        ("有3只狗", "3"),
        ("2 apples and 3 oranges make 5", "5"),
    ],
)
def test_fractions_signs_and_dozens_in_words(reply: str, number: str | None) -> None:
    assert read_number(reply) == number
