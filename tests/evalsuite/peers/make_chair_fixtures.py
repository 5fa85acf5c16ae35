"""Let CHAIR's own code judge generated captions that ours is tested against.

    pip install --no-deps --target peers nltk==3.10 regex
    PYTHONPATH=peers python tests/evalsuite/peers/make_chair_fixtures.py code

``code`` is a folder with these files, each ``git show REVISION:PATH``:
    chair.py      LisaAnne/Hallucination 6e4d33c utils/chair.py, after ``python -m lib2to3 -w``
    synonyms.txt  LisaAnne/Hallucination 6e4d33c data/synonyms.txt, as data/synonyms.txt
    inflect.py    clips/pattern d25511f pattern/text/en/inflect.py, whose ``singularize`` the former imports
NLTK's word tokeniser is used without its division into sentences, whose model is not on PyPI: each caption is one.
Writes ``chair.json`` beside this file: captions and verdicts, none of their code.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from pathlib import Path
from typing import Any

from borrow import borrowed
from nltk.tokenize import NLTKWordTokenizer

HERE = Path(__file__).parent
FILLERS = str.split("""a the two red and on with of near sitting is in front some baby adult passenger toilet seat home
    plate track bow potted table's running grass glasses bus's toys very small-sized next to it, there
    are standing, .""")


class Tokenizer:
    """In place of ``nltk``."""

    word_tokenize = staticmethod(NLTKWordTokenizer().tokenize)


def main() -> None:
    """Write the fixture."""
    code = Path(sys.argv[1])
    inflect = borrowed(
        code / "inflect.py", "singularize", "singular_rules", "singular_uninflected", "singular_uncountable",
        "singular_ie", "singular_irregular", "plural_prepositions", "pluralize", "plural_rules", "plural_categories",
        "VOWELS", NOUN="NN", ADJECTIVE="JJ", VERB="VB",
    )  # fmt: skip
    os.chdir(code)
    peer = borrowed(code / "chair.py", "CHAIR", nltk=Tokenizer, singularize=inflect["singularize"])["CHAIR"]
    judge = peer([], "")
    words = [word for word in judge.mscoco_objects if word]
    draw = random.Random(0)
    captions = []
    for _ in range(600):
        listed = []
        for _ in range(draw.randint(3, 10)):
            word = draw.choice(words) if draw.random() < 0.45 else draw.choice(FILLERS)
            plural = draw.random() < 0.4 and re.fullmatch("[a-z]{3,}", word) and word not in FILLERS
            listed.append(inflect["pluralize"](word) if plural else word)
        captions.append(" ".join(listed).capitalize() + draw.choice([".", "", "!"]))
    cases = []
    for number, caption in enumerate(captions):
        there = [draw.choice(words).strip() for _ in range(3)] + [captions[number - 1]]
        judge.imid_to_objects = {0: {name for text in there for name in judge.caption_to_words(text)[1]}}
        scores: dict[str, Any] = dict.fromkeys(
            ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "CIDEr", "SPICE", "ROUGE_L"), 0
        )
        judge.caps, judge.metrics = [{"caption": caption, "image_id": 0, **scores}], scores
        judge._load_generated_captions_into_evaluator = lambda _: None
        named = judge.caption_to_words(caption)[1]
        if named:
            found = judge.compute_chair("")["sentences"][0]
            wrong = [name for _, name in found["mscoco_hallucinated_words"]]
            cases.append([caption, there, named, wrong, found["metrics"]["CHAIRi"]])
    assert __doc__ is not None
    rows = ",\n".join(json.dumps(case) for case in cases)
    made_by = json.dumps(" ".join(__doc__.split()))
    (HERE / "chair.json").write_text(f'{{"made by": {made_by},\n"cases": [\n{rows}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
