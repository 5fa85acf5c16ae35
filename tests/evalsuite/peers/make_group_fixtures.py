"""Let the benchmarks' own code and their ports judge generated rows that our metrics of groups are tested against.

    python tests/evalsuite/peers/make_group_fixtures.py code

``code`` is a folder with these files, each ``git show REVISION:PATH``:
    hallusionbench.py       tianyi-lab/HallusionBench 744007c utils.py
    mathvista.py            lupantech/MathVista 53d5258 evaluation/calculate_score.py (needs ``Levenshtein``)
    lmms_ocrbench.py        EvolvingLMMs-Lab/lmms-eval 75571cf lmms_eval/tasks/ocrbench/utils.py
    lmms_naturalbench.py    EvolvingLMMs-Lab/lmms-eval 75571cf lmms_eval/tasks/naturalbench/utils.py
    vlmevalkit_choice.py    open-compass/VLMEvalKit e8e78f0 vlmeval/dataset/utils/multiple_choice.py
    vlmevalkit_matching.py  open-compass/VLMEvalKit e8e78f0 vlmeval/utils/matching_util.py
Writes ``groups.json`` beside this file: inputs and verdicts, none of their code.
"""

from __future__ import annotations

import json
import os
import random
import string
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from borrow import borrowed

HERE = Path(__file__).parent
WORDS = str.split("Exit EXIT exit ＥＸＩＴ no exit 12.50 $12.50 a b x^{2} x ^ { 2 } y cat concatenate 出口 L'été")


def halluses(code: Path, draw: random.Random) -> dict[str, Any]:
    """Rows of HallusionBench's form, right or wrong at random, and its three accuracies."""
    peer = borrowed(code / "hallusionbench.py", "get_eval_fig", "get_eval_all", "get_eval_pair_all")
    rows = []
    for number in range(60):
        for figure in range(draw.randint(1, 4)):
            for question in range(draw.randint(1, 3)):
                rows.append({
                    "category": "VD", "subcategory": draw.choice("ab") if number > 40 else "a",
                    "set_id": str(number), "figure_id": str(figure), "question_id": str(question),
                    "correct": int(draw.random() < 0.8), "visual_input": "1", "same": "1",
                })  # fmt: skip
    distinct = {tuple(row[key] for key in ("category", "subcategory", "set_id", "figure_id", "question_id")): row
                for row in rows}  # fmt: skip
    rows = [row for row in distinct.values()
            if (row["category"], row["subcategory"], row["set_id"], "0", row["question_id"]) in distinct]  # fmt: skip
    for row in rows:
        row["answer"] = str(row["correct"])
    figures, questions = peer["get_eval_fig"](rows), peer["get_eval_pair_all"](rows, "answer")
    every = peer["get_eval_all"](rows, "answer")
    keys = ("category", "subcategory", "set_id", "figure_id", "question_id", "correct")
    return {
        "rows": [{key: row[key] for key in keys} for row in rows],
        "all": float(every["correct"] / every["total"]),
        "figure": figures["correct"] / figures["total"],
        "question": questions["correct"] / questions["total"],
    }


def natural(code: Path, draw: random.Random) -> dict[str, Any]:
    """Answers to NaturalBench's groups of two questions on two images (1 yes, 0 no, −1 neither) and its accuracies."""
    peer = borrowed(code / "lmms_naturalbench.py", "get_scores")["get_scores"]
    answers = [[draw.choice([1, 1, 1, 0]), draw.choice([0, 0, 0, 1]), draw.choice([0, 0, 0, -1]),
                draw.choice([1, 1, 1, 0])] for _ in range(80)]  # fmt: skip
    return {"answers": answers, "scores": peer(answers)}


def circular(code: Path, draw: random.Random) -> dict[str, Any]:
    """Groups of rotations, each with its reply and right letter, and whether VLMEvalKit counts the group."""
    matching = borrowed(
        code / "vlmevalkit_matching.py", "can_infer", "can_infer_option", "can_infer_text", "_VERBOSE_ANSWER_RE",
        "can_infer_sequence", "can_infer_lego", os=os, cp=__import__("copy"), string=string, Counter=Counter,
    )  # fmt: skip
    peer = borrowed(
        code / "vlmevalkit_choice.py", "prefetch_circular_group", "prefetch_answer", "build_choices",
        can_infer=matching["can_infer"], string=string, pd=pd, cp=__import__("copy"),
    )["prefetch_circular_group"]  # fmt: skip
    groups = []
    for _ in range(60):
        texts = draw.sample(["lion", "tiger", "bear", "fish"], 4)
        rows = []
        for turn in range(4):
            options = texts[turn:] + texts[:turn]
            right = "ABCD"[options.index("tiger")] if "tiger" in options else "A"
            said = right if draw.random() < 0.85 else draw.choice("ABCD")
            rows.append({"options": options, "GT": right, "prediction": said})
        table = pd.DataFrame([{**dict(zip("ABCD", row["options"], strict=True)), **row} for row in rows])
        found = peer(table)
        groups.append([rows, int(found is not None and found["hit"])])
    return {"groups": groups}


def main() -> None:
    """Write the fixture."""
    code, draw = Path(sys.argv[1]), random.Random(0)
    ocr = borrowed(code / "lmms_ocrbench.py", "ocrbench_process_results", "_fold_fullwidth_ascii")
    judge = ocr["ocrbench_process_results"]
    transcribed = []
    for number in range(150):
        text = draw.choice([" ", "", "\n"]).join(draw.choices(WORDS, k=draw.randint(1, 4)))
        given = [draw.choice([draw.choice(WORDS), text[1:-1], text.upper()]) for _ in range(draw.randint(1, 2))]
        formula = number % 3 == 0
        doc = {"answer": given, "dataset": "HME100k" if formula else "x", "question_type": ""}
        transcribed.append([text, given, formula, judge(doc, [text])["ocrbench_accuracy"]["score"]])
    from Levenshtein import distance

    vista = borrowed(
        code / "mathvista.py", "normalize_extracted_answer", "get_most_similar", "safe_equal", distance=distance
    )
    said = [
        "B",
        "(b) cat",
        "b",
        "cats",
        "14",
        "14.7",
        "-3",
        "1e2",
        "3.14159",
        "nan",
        "inf",
        "",
        "[1, 2]",
        "two",
        " 7 ",
        "E",
    ]
    kinds = [("multi_choice", "text", None), ("free_form", "integer", None), ("free_form", "float", 1.0),
             ("free_form", "float", 2.0), ("free_form", "list", None)]  # fmt: skip
    numbers = [[text, *kind, vista["normalize_extracted_answer"](text, ["dog", "cat", "a bear"], *kind)]
               for text in said for kind in kinds]  # fmt: skip
    assert __doc__ is not None
    fixture = {
        "made by": " ".join(__doc__.split()), "hallusionbench": halluses(code, draw),
        "naturalbench": natural(code, draw), "circular": circular(code, draw), "ocrbench": transcribed,
        "mathvista": numbers,
    }  # fmt: skip
    (HERE / "groups.json").write_text(json.dumps(fixture, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
