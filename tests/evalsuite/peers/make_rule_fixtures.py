"""Let the benchmarks' own code, lmms-eval and VLMEvalKit judge generated hard answers that ours are tested against.

    pip install --no-deps --target peers lmms-eval==0.7.3 ms-vlmeval==0.0.20 open-flamingo==2.0.1
    python tests/evalsuite/peers/make_rule_fixtures.py peers official

``ms-vlmeval`` is ModelScope's package of VLMEvalKit; ``open-flamingo`` holds a copy of the VQA challenge's
``VQAEval``, whose text processing is used. ``official`` is a folder with functions taken from
    vqa.py         ``accuracy(VQAEval, response, answers)``: the loop of GT-Vision-Lab/VQA vqaEval.py, as forks hold it
    pope.py        ``parse``: POPE's evaluate.py, as InternVL's copy holds it
    mme.py         ``parse_pred_ans``: MME calculation.py (as in zjunlp/Deco a3ccc15)
    mmmu.py        ``parse_multi_choice_response``: MMMU-Benchmark/MMMU eval/eval_utils.py (44b45b5)
    pix2struct.py  ``relaxed_correctness``: google-research/pix2struct metrics.py (5b086ef)
Writes ``rules.json`` beside this file: inputs and verdicts, none of their code.
"""

from __future__ import annotations

import ast
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
from borrow import borrowed

HERE = Path(__file__).parent
WORDS = str.split("""yes no Yes No NO yeah nope not none cannot isn't unknown noodle yes/no no-one yes, No. "yes" **No**
    y n a an the two 2 2.0 3. 3.5 1,000 1000 50% $14 €5 -5 −5 0 0.0 1e3 .5 1/2 U.S.A. dog dog's dogs dont don't
    somebody'd it's 5:30 well-known red/blue (red) [sic] café Straße 日本 answer: is # @home a.b ... ! ? ;
    unanswerable 2010 2019""")
OPTIONS = ["a red dog", "two cats", "Rome", "none of the above"]
NAMES = str.split(r"""A B C D (A) (B) (C) A. B. D) **B** \boxed{C} b the answer is because or not and Answer: option two
    cats Rome a red dog none of above , . ! I think E FAILED Dog""")


def texts(words: list[str], count: int, most: int, seed: int) -> list[str]:
    """Distinct texts of up to ``most`` words, some glued together or with blanks around them."""
    draw = random.Random(seed)
    found = dict.fromkeys(["", " ", *words])
    while len(found) < count + len(words):
        joined = draw.choice([" ", " ", " ", "", ", ", "  "]).join(draw.choices(words, k=draw.randint(1, most)))
        found[draw.choice(["{}", "{}", "{}.", " {}", "{} ", "{}?"]).format(joined)] = None
    return list(found)


def named(parse: Any, text: str) -> str:
    """The option that a rule names, or ``?`` where it draws one at random."""
    return parse(text, list("ABCD"), dict(zip("ABCD", OPTIONS, strict=True)))


class Drawn:
    """In place of ``random``."""

    @staticmethod
    def choice(_: Any) -> str:
        return "?"


def main() -> None:
    """Write the fixture."""
    peers, official = Path(sys.argv[1]), Path(sys.argv[2])
    kit = "vlmeval/dataset/utils"
    words = borrowed(peers / "vlmeval/smp/misc.py", "process_punctuation")["process_punctuation"]
    names = ("_process_digit_article", "process_answer", "process_line", "relaxed_correctness", "anls_compute")
    vqa = borrowed(peers / f"{kit}/vqa_eval.py", *names, "levenshtein_distance", process_punctuation=words,
                istype=lambda value, kind: isinstance(ast.literal_eval(value), kind))  # fmt: skip
    yes_no = borrowed(peers / f"{kit}/yorn.py", "YOrN_Extraction", process_punctuation=words)["YOrN_Extraction"]
    mme = borrowed(peers / "lmms_eval/tasks/mme/utils.py", "parse_pred_ans")["parse_pred_ans"]
    processor = borrowed(peers / "lmms_eval/tasks/_task_utils/vqa_eval_metric.py", "EvalAIAnswerProcessor")
    textvqa = borrowed(peers / "lmms_eval/tasks/textvqa/utils.py", "textvqa_process_results")
    textvqa["EvalAIAnswerProcessor"] = processor["EvalAIAnswerProcessor"]
    lmms_choice = borrowed(peers / "lmms_eval/tasks/_task_utils/mmmu_mcq_utils.py", "parse_mmmu_multi_choice_response",
                        random=Drawn)  # fmt: skip
    judge = borrowed(peers / "open_flamingo/eval/vqa_metric.py", "VQAEval")["VQAEval"]
    own = {name: borrowed(official / f"{name}.py", function, random=Drawn)[function] for name, function in (
        ("vqa", "accuracy"), ("pope", "parse"), ("mme", "parse_pred_ans"),
        ("mmmu", "parse_multi_choice_response"), ("pix2struct", "relaxed_correctness"),
    )}  # fmt: skip

    class Nobody:
        def getQuesIds(self) -> list[int]:
            return []

    judged = judge(Nobody(), Nobody())
    answers = texts(WORDS, 150, 4, 1)
    draw = random.Random(2)
    people = []
    for number in range(160):
        few = draw.choices(answers, k=3)
        given = [draw.choice(few) for _ in range(10)] if number % 3 else [few[0]] * 10
        people.append((draw.choice([*few, few[0].upper(), f"the {few[0]}.", f" {few[0]}\n"]), given))
    pairs = [(draw.choice([one, one.upper(), f"{one}.", f" {one}"]), one) for one in answers]
    pairs += [(draw.choice(answers), draw.choice(answers)) for _ in range(150)]
    numbers = [f"{draw.uniform(-50, 2100):.{draw.randint(0, 3)}f}{draw.choice(['', '', '%'])}" for _ in range(60)]
    pairs += [
        (f"{float(one.rstrip('%')) * draw.uniform(0.9, 1.1):.4g}{draw.choice(['', '%'])}", one) for one in numbers
    ]
    line = lambda text, given: {"prediction": text, "answer": repr(given)}  # noqa: E731
    with_ids = lambda given: {"question_id": 0, "answers": list(given)}  # noqa: E731
    fixture = {
        "vqa official": [[text, given, own["vqa"](judged, text, given)] for text, given in people],
        "vqa evalai": [
            [text, given, textvqa["textvqa_process_results"](with_ids(given), [text])["exact_match"]]
            for text, given in people
        ],
        "vqa vlmevalkit": [
            [text, given, float(np.mean(vqa["process_line"](line(text, given))["match"]))] for text, given in people
        ],
        "anls": [[a, b, 1 - vqa["anls_compute"](b, a)] for a, b in pairs],
        "relaxed official": [[a, b, own["pix2struct"](b, a)] for a, b in pairs],
        "relaxed vlmevalkit": [[a, b, bool(vqa["relaxed_correctness"](b, a.strip()))] for a, b in pairs],
        "gqa vlmevalkit": [[a, b, vqa["process_line"](line(a, [b]), "accuracy")["match"][0]] for a, b in pairs],
        "yes or no pope": [[text, own["pope"](text)] for text in answers],
        "yes or no mme": [[text, own["mme"](text.lower())] for text in answers],
        "yes or no lmms-eval": [[text, mme(text)] for text in answers],
        "yes or no vlmevalkit": [[text, yes_no(text).lower()] for text in answers],
        "choice mmmu": [[text, named(own["mmmu"], text)] for text in texts(NAMES, 150, 9, 3)],
        "choice lmms-eval": [
            [text, named(lmms_choice["parse_mmmu_multi_choice_response"], text)] for text in texts(NAMES, 150, 9, 3)
        ],
    }  # fmt: skip
    assert __doc__ is not None
    rows = (json.dumps(name) + ": [\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]"
            for name, cases in fixture.items())  # fmt: skip
    made_by = json.dumps(" ".join(__doc__.split()), ensure_ascii=False)
    (HERE / "rules.json").write_text(f'{{\n"made by": {made_by},\n' + ",\n".join(rows) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
