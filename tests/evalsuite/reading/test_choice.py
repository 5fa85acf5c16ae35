"""Which option a reply names, as models write it; prose names none by its capital letters."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.metrics import parse_choice

OPTIONS = ["lion", "tiger", "bear", "fish"]
TIGER = [
    "B\n\nExplanation: stripes (A lion has a mane).",
    "The answer is B, not A.",
    "A tiger",
    "The answer is **B**.",
    "**Answer: B**",
    "<answer>B</answer>",
    "<|begin_of_box|>B<|end_of_box|>",
    "\\boxed{B. tiger}",
    "Answer:B",
    "Answer\nB",
    "答案：B",
    "Correct Answer: B. tiger",
    "正确答案是B",
    "正确答案是 B。",
    "B",
    "b",
    "B.",
    "(B)",
    "(b)",
    "B) tiger",
    "b) tiger",
    "B: tiger",
    "**B**",
    "**B.** tiger",
    "Option B",
    "The correct option is (B)",
    "The correct answer is option B.",
    "tiger",
    "Tiger.",
    "a tiger",
    "The tiger",
    "The animal shown is a tiger.",
    "It's a tiger, not a lion.",
    "It is not a lion but a tiger.",
    "La réponse est B",
    "Die Antwort ist B.",
    "La respuesta correcta es B",
    "Réponse : B",
    "Antwort: B",
    "Respuesta: (B)",
    "A resposta é B",
    "Ответ: B",
    "답: B",
    "正解はB",
    "答えはB",
    "选B",
    "故选B。",
    "B选项正确",
    "So the animal has stripes.\n\nB",
    "First A is wrong. Then C is wrong.\n\n(B)",
    "I would choose B.",
    "I choose option (B) because it has stripes",
    "Option B is correct.",
    "B is the correct answer.",
    "(B) is correct",
    "Therefore, the answer is (B) tiger.",
    "The answer is \\(B\\)",
    "Answer: $B$",
    "\\boxed{\\text{B}}",
    "$\\boxed{B}$",
    "### Final Answer\n\nB",
    "**Final Answer:** B",
    "Final answer: **(B)**",
    "My answer: B",
    "ANSWER: B",
    "answer is b",
    "the answer is: b.",
    "Answer: b",
    "The best answer is B",
    "The answer would be B",
    "The answer should be B.",
    "<think>A or C?</think>B",
    "<think>\nMaybe A, maybe no.\n</think>\n\nB",
    "hmm A\n</think>\nB",
    "◁think▷A◁/think▷B",
    "[THINK]A[/THINK]B",
    "B<|im_end|>",
    "B</s>",
    "B<|im_end|>\n<|im_start|>user\nA?",
    "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>final<|message|>B",
    "```\nB\n```",
    "- B",
    "> B",
    '"B"',
    "'B'",
    "[B]",
    "{B}",
    "B - tiger",
    "B – it has stripes",
    "B because of stripes",
    "B tiger",
    "The answer is not A but B.",
    "A. is wrong? Answer: B",
    "Answer: tiger",
    "The answer is tiger.",
    "The answer is a tiger",
    "the correct answer is the tiger",
    "Answer: A tiger",
    "Looking at the stripes, the answer is (B).",
    "After elimination: A no, C no, D no. The correct choice is B",
    "So it's B.",
    "Thus, B.",
    "This matches option B.",
    "The answer is B because A is wrong.",
    "Answer: (B) tiger\n\nExplanation: A lion has a mane",
    "Ｂ",
    "（B）",
    "答案是（B）",
    "B。",
    "B、tiger",
    "<answer> B </answer>",
    "<answer>B",
    "[[B]]",
    "<CONCLUSION>B</CONCLUSION>",
    "The answer: B",
    "Answer - B",
    "Answer is B",
    "Ans: B",
    "The final answer is $\\boxed{B}$.",
    "I think the answer is B",
    "Answer: B\nA lion has a mane.",
    "B, since a lion has no stripes",
    "\\text{B}",
    "Answer: \\text{B}",
    "Answer: **B. tiger**",
    "The correct answer is:\n\n**B. tiger**",
    "B\n",
    "The tiger is shown; lions have manes, though.",
    "Réponse correcte : B. tiger",
    "La bonne réponse est la B.",
    "Die richtige Antwort ist (B)",
]
NOTHING = [
    "A lion has a mane and a tiger has stripes.",
    "A or B",
    "A animal",
    "I am not sure.",
    "I cannot tell",
    "",
    "An animal with stripes",
    "It is a cat",
    "A lion, a tiger and a bear",
    "A. lion has a mane\nB. tiger has stripes\nC. bear is big",
    "The answer is not A.",
    "Answer: A or B",
    "Both A and B",
    "none",
    "In figure A we see",
    "A man and a dog",
    "<think>B",
    "Is it a lion or a tiger?",
    "The answer is unclear",
    "A picture of something",
    "A large animal lies in the grass.",
    "Dogs",
    "I see a Dog",
    "A and B are both plausible",
    "Vitamin B is good",
    "Neither A nor B",
]


@pytest.mark.parametrize("reply", TIGER)
def test_the_tiger_is_read(reply: str) -> None:
    assert parse_choice(reply, OPTIONS) == "B"


@pytest.mark.parametrize("reply", NOTHING)
def test_no_option_is_named(reply: str) -> None:
    assert parse_choice(reply, OPTIONS) is None


@pytest.mark.parametrize(
    ("reply", "options", "letter"),
    [
        ("3", ["3", "5", "7"], "A"),
        ("The answer is 5.", ["3", "5", "7"], "B"),
        ("5 apples", ["3", "5", "7"], "B"),
        ("Answer: 3.5", ["3", "3.5"], "B"),
        ("The value is 12.5 cm", ["12.5 cm", "2.5 cm", "5 cm"], "A"),
        ("dark red", ["red", "dark red"], "B"),
        ("It is dark red.", ["red", "dark red"], "B"),
        ("No, it is not", ["yes", "no"], "B"),
        ("Answer: E. coli", ["E. coli", "virus", "x", "y", "z"], "A"),
        ("Answer: D 24.3 kN", ["1", "2", "3", "4"], "D"),
        ("The closest is option:\n\nJ. 5 m", [str(n) for n in range(10)], "J"),
        ("Answer: z", [str(n) for n in range(26)], "Z"),
        ("Z", [str(n) for n in range(26)], "Z"),
        ("E", OPTIONS, None),
        ("Answer: E", OPTIONS, None),
        ("same", ["same", "same"], None),
        ("Answer: C", ["E", "C", "D"], "C"),
    ],
)
def test_options_of_every_kind(reply: str, options: list[str], letter: str | None) -> None:
    assert parse_choice(reply, options) == letter


def test_prose_is_not_biased_to_a_letter() -> None:
    words = [
        "A",
        "the",
        "I",
        "of",
        "a",
        "An",
        "in",
        "Image",
        "shows",
        "man",
        "B-side",
        "plan",
        "walking",
        "vitamin",
        "street",
        "C",
        "major",
        "E",
        "coli",
        "dog",
        "D",
        "day",
        "and",
        "2",
        "Grade",
        "hotel",
        "people",
        "with",
        "Under",
        "umbrellas",
        "Many",
        "F",
        "statistic",
    ]
    draw = random.Random(0)
    read = [parse_choice(" ".join(draw.choices(words, k=draw.randint(6, 30))) + ".", OPTIONS) for _ in range(500)]
    assert sum(letter is not None for letter in read) <= 5
    assert parse_choice("A man is walking a dog in the street.", OPTIONS) is None


@given(st.text(max_size=200), st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=30))
def test_any_reply_names_an_option_or_none(reply: str, options: list[str]) -> None:
    letter = parse_choice(reply, options[:26])
    assert letter is None or ord(letter) - ord("A") < len(options)


@given(
    st.sampled_from(["A", "B", "C", "D"]), st.sampled_from(["Answer: {}", "The answer is {}.", "**{}**", "({})", "{}."])
)
def test_every_letter_is_read_alike(letter: str, form: str) -> None:
    assert parse_choice(form.format(letter), OPTIONS) == letter
