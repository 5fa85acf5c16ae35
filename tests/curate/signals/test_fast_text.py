"""The text signals, which remember and skip, are what their plain form gives."""

from hypothesis import given, settings
from hypothesis import strategies as st

from curate.signals import pii, text
from curate.signals.memo import _LONGEST, _MOST, Remembered
from tests.curate.signals import plain_text

PIECES = st.sampled_from(
    [
        "What color is it?", "How many?", "Is there a cat", "<image>\nWhat is", "no", "yes", "3", "red", "[INST]",
        "</s>", "I'm sorry, but I cannot", "<|im_end|>", "<video>", "<bbox>", "<ref-object>", "ſ ß İ", "İs", "Red", " ",
        "can't say", "sky-blue, or so", "a b c d e f", "what color is it?", "it’s ⟨x⟩", "one two", "x" * 300,
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=3).map(" ".join)
SPEAKERS = st.sampled_from(["user", "assistant", "user", "assistant", "system", "tool_call", "observation"])


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(SPEAKERS, TEXTS), max_size=5),
    st.integers(0, 2),
    st.integers(0, 1),
    st.none() | st.just({"<bbox>": 1}),
)
def test_columns_of_a_conversation(turns, images, videos, objects):
    fast = text.conversation(turns, images, videos=videos, objects=objects)
    assert fast == plain_text.conversation(turns, images, videos=videos, objects=objects)


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=10))
def test_votes(answers):
    assert text.votes(answers) == plain_text.votes(answers)


@given(st.text(st.sampled_from("0179٣x .-"), max_size=20))
def test_digits_are_counted(given_text):
    assert pii._digits(given_text) == len(pii._DIGITS.findall(given_text))


def test_what_is_remembered_is_bounded():
    calls = []
    known = Remembered(lambda given_text: calls.append(given_text) or len(given_text))
    assert (known["a"], known["a"], len(calls)) == (1, 1, 1)
    long = "x" * (_LONGEST + 1)
    assert (known[long], known[long], len(calls)) == (len(long), len(long), 3)
    for number in range(_MOST + 10):
        known[str(number)]
    assert len(known) <= _MOST
