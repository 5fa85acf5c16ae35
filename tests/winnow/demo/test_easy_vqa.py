import random

from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.demo.easy_vqa import (
    COLOURS,
    PHRASINGS,
    REQUESTS,
    SHAPES,
    Facts,
    answers_of,
    by_image,
    caption,
    facts,
    load_questions,
    question_type,
)

QUESTIONS = sorted({question.text for question in load_questions("train", None)})


def answer_of(question: str, colour: str, shape: str) -> str | None:
    """Naive oracle: the answer about an image of one coloured shape; None if the question does not fit it."""
    words = question.rstrip("?").split()
    named = [word for word in words if word in COLOURS + SHAPES]
    if question.startswith("what"):
        if any(word not in (colour, shape) for word in named):
            return None
        return colour if "color" in words else shape
    there = named[0] in (colour, shape)
    return "yes" if there != bool({"no", "not"} & set(words)) else "no"


@settings(deadline=None)
@given(st.sampled_from(COLOURS), st.sampled_from(SHAPES), st.lists(st.sampled_from(QUESTIONS), max_size=12))
def test_facts_leave_exactly_the_images_that_give_these_answers(colour, shape, questions):
    asked = [(text, answer) for text in questions if (answer := answer_of(text, colour, shape))]
    possible = {
        (other, form)
        for other in COLOURS
        for form in SHAPES
        if all(answer_of(text, other, form) == answer for text, answer in asked)
    }
    known = facts(asked)
    assert {(other, form) for other in known.colours for form in known.shapes} == possible


def test_every_question_of_the_package_is_typed_so_that_its_answer_fits():
    for split in ("train", "test"):
        for question in load_questions(split, None):
            assert question.answer in answers_of(question_type(question.text))


def test_no_image_of_the_package_contradicts_itself():
    for split, expected in (("train", 3578), ("test", 888)):
        known = [
            facts((one.text, one.answer) for one in asked) for asked in by_image(load_questions(split, None)).values()
        ]
        assert sum(bool(found.colour and found.shape) for found in known) == expected


def test_seven_noes_name_the_eighth_colour():
    asked = [(f"is there a {colour} shape?", "no") for colour in COLOURS if colour != "teal"]
    assert facts(asked).colour == "teal"
    assert facts(asked[1:]).colour is None


@settings(deadline=None)
@given(st.sampled_from(COLOURS), st.sampled_from(SHAPES), st.integers())
def test_a_caption_names_the_known_colour_and_shape_and_no_other(colour, shape, seed):
    made = caption(Facts(frozenset({colour}), frozenset({shape})), random.Random(seed))
    assert made.request in REQUESTS
    assert len(set(made.references)) == len(made.references) >= 4
    for reference in made.references:
        words = set(reference.replace(",", "").split())
        assert words & set(COLOURS + SHAPES) == {colour, shape}


def test_references_vary_between_images():
    rng = random.Random(0)
    known = Facts(frozenset({"red"}), frozenset({"circle"}))
    drawn = [caption(known, rng) for _ in range(200)]
    assert {made.references[0] for made in drawn} == {one.format(colour="red", shape="circle") for one in PHRASINGS}


def test_no_caption_without_both_facts():
    assert caption(Facts(frozenset({"red"})), random.Random(0)) is None
    assert caption(Facts(shapes=frozenset({"circle"})), random.Random(0)) is None
