import time

from hypothesis import given
from hypothesis import strategies as st

from dashboards.review.diff import _compared, nearest_reference, word_diff, words

_TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            ["red", "blue", " ", "\n", "不", "是", "קצר", "שלום", "हिन्दी", "é", "👩‍👩‍👧", "3.5", ",", "don't"]
        )
    ).map("".join),
)


def _sides(segments):
    reference = "".join(text for mark, text in segments if mark in "=-")
    return reference, "".join(text for mark, text in segments if mark in "=+")


@given(_TEXTS, _TEXTS)
def test_both_texts_can_be_put_together_again(answer, reference):
    diff = word_diff(answer, reference)
    assert _sides(diff.segments) == (reference, answer)
    assert not diff.cut
    assert all(text for _, text in diff.segments)
    marks = [mark for mark, _ in diff.segments]
    assert "==" not in "".join(marks) and "+-" not in "".join(marks)


@given(_TEXTS)
def test_words_divide_a_text_without_loss(text):
    assert "".join(words(text)) == text
    assert all(words(text))


@given(st.text(alphabet="ab", max_size=8), st.text(alphabet="ab", max_size=8))
def test_as_much_as_possible_stays(ours, theirs):
    def longest(one, other):  # the plain definition
        if not one or not other:
            return 0
        if one[0] == other[0]:
            return 1 + longest(one[1:], other[1:])
        return max(longest(one[1:], other), longest(one, other[1:]))

    kept = sum(mark == "=" for mark, _ in _compared(list(ours), list(theirs)))
    assert kept == longest(ours, theirs)


def test_words_of_several_scripts():
    assert list(words("don't pay 3.50, ok")) == ["don't", " ", "pay", " ", "3.50", ",", " ", "ok"]
    assert list(words("不是红色")) == ["不", "是", "红", "色"]
    assert list(words("שלום עולם")) == ["שלום", " ", "עולם"]
    assert list(words("हिन्दी में")) == ["हिन्दी", " ", "में"]
    assert list(words("e\u0301te\u0301 👩‍👩‍👧👍🏽")) == ["e\u0301te\u0301", " ", "👩‍👩‍👧", "👍🏽"]


def test_what_is_shown_of_a_change():
    assert word_diff("a blue square", "a red triangle").segments == (
        ("=", "a "),
        ("-", "red triangle"),
        ("+", "blue square"),
    )
    assert word_diff("two dogs run", "dogs run").segments == (("+", "two "), ("=", "dogs run"))
    assert word_diff("same", "same").segments == (("=", "same"),)
    assert word_diff("", "").segments == ()
    assert word_diff("是蓝色", "是红色").segments == (("=", "是"), ("-", "红"), ("+", "蓝"), ("=", "色"))


def test_very_long_texts_are_cut_and_stay_whole():
    answer = " ".join(f"w{number % 7} x{number}" for number in range(60_000))
    reference = " ".join(f"w{number % 7} y{number}" for number in range(60_000))
    started = time.process_time()
    diff = word_diff(answer, reference)
    assert time.process_time() - started < 2
    assert diff.cut
    assert _sides(diff.segments) == (reference, answer)


def test_the_nearest_reference():
    assert nearest_reference("A red Triangle!", ["circle", "red triangle", "a blue triangle"]) == "red triangle"
    assert nearest_reference("no", ["yes", "No", "no"]) == "No"
    assert nearest_reference("x", []) == ""
    assert nearest_reference("", ["a", "b"]) == "a"
    assert nearest_reference("红色的", ["蓝色", "红色"]) == "红色"


@given(_TEXTS, st.lists(_TEXTS, max_size=5))
def test_the_nearest_reference_is_one_of_them(answer, references):
    assert nearest_reference(answer, references) in (references or [""])


@given(_TEXTS, st.lists(_TEXTS, max_size=4))
def test_a_reference_that_is_the_answer_is_the_nearest(answer, others):
    found = nearest_reference(answer, [*others, answer])
    assert word_diff(answer, found).segments == (("=", answer),) * bool(answer) or found in others
