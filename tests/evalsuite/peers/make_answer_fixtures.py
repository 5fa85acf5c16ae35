# ruff: noqa: E501
"""Let lmms-eval's own functions compute the scores of short answers that ours are tested against.

    pip install --no-deps --target peers lmms-eval==0.7.3
    python tests/evalsuite/peers/make_answer_fixtures.py peers

Writes ``answers.json`` beside this file.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from borrow import borrowed

HERE = Path(__file__).parent
COMMAND = "python tests/evalsuite/peers/make_answer_fixtures.py peers"
TEXTS = """yes|Yes|yes.|Yes, it is|no|No.|not sure|There isn't a dog|noodle soup|unknown||the dog|dogs|2|two|2.0|3.|3.5|U.S.A.
yes,no|1,000|1,000-2,000|dog's|dont|don't|somebody'd|well-known|a/b|it's 5:30|50%|$14|14|14.7|14.71|1400|1,400|0|0.0|-5
2010|2019|2%|abcd|abxy|Abcd |a  b|unanswerable|Unanswerable.|none|Straße|日本|red and blue|the answer is yes|y|N|none of it
nan|inf|1_000|5.0e1|blue!|"quoted"|isnt|couldnt've|im|'cause|A|(B)|the U.S.|12 o'clock|a.b|.5|5%|0.05""".replace(
    "\n", "|"
).split("|")
OPTIONS = ["a red dog", "two cats", "Rome", "none of the above"]
REPLIES = """A|B.|(C)|b|B) two cats|**B**|The answer is B|The answer is (A) because B is wrong|A or B|two cats|It is two cats, I would say
I think that the capital Rome is shown|\\boxed{B}||Answer: D|D. none of the above|A. B. C.|(A) (B)|nothing of these fits the image at all
'C'|C:|The dog is a red dog and a Big dog|A dog is here B""".replace("\n", "|").split("|")
OPEN = [
    ("The answer is 42.", "42"), ("so x = 3.14159", "3.14"), ("it concatenates", "cat"), ("about 1,000,000 dollars", "0"),
    ("1e-3", "0"), ("The result is\nRome", "Rome"), ("Rome", "rome"), ("it is a", "a"), ("a", "a"), ("result: b", "b"),
    ("therefore 1,200", "1200"), ("-5", "-5"), ("The final answer is 0.125", "0.13"), ("x is 5. so y is 6", "5"), ("", "x"),
    ("the answer is :", ":"), ("y=2x=8", "8"), ("y=2x=8\nz", "8"), ("It could be either so final", "either"), ("is is", "is"),
]  # fmt: skip


def main() -> None:
    """Write the fixture."""
    peer = Path(sys.argv[1]) / "lmms_eval"
    metrics = borrowed(peer / "api/metrics.py", "levenshtein_distance", "anls", "exact_match_hf_evaluate")
    processor = borrowed(peer / "tasks/_task_utils/vqa_eval_metric.py", "EvalAIAnswerProcessor")[
        "EvalAIAnswerProcessor"
    ]
    vqav2 = borrowed(peer / "tasks/vqav2/utils.py", "vqav2_process_results")
    vqav2["EvalAIAnswerProcessor"] = processor
    relaxed = borrowed(peer / "tasks/chartqa/utils.py", "relaxed_correctness")["relaxed_correctness"]
    science = borrowed(peer / "tasks/scienceqa/utils.py", "sqa_doc_to_target", "sqa_process_results")
    mme = borrowed(
        peer / "tasks/mme/utils.py", "eval_type_dict", "parse_pred_ans", "mme_process_results", "mme_aggregate_results"
    )
    names = ("accuracy", "precision", "recall", "f1_score")
    pope = borrowed(peer / "tasks/pope/utils.py", "pope_process_results", *(f"pope_aggregate_{name}" for name in names))
    mmmu = borrowed(
        peer / "tasks/mmmu/utils.py",
        "extract_numbers",
        "check_is_number",
        "normalize_str",
        "parse_open_response",
        "eval_open",
    )
    process = processor()
    generator = random.Random(0)
    votes = [[generator.choice(TEXTS) for _ in range(10)] for _ in range(8)]
    votes += [[*["yes"] * count, *["no"] * (10 - count)] for count in range(5)]
    rows = [(generator.choice([*TEXTS, *dict.fromkeys(answers)]), answers) for answers in votes for _ in range(6)]
    vqa = []
    for text, answers in rows:
        doc = {"question_id": 0, "answers": [{"answer": one, "answer_id": n} for n, one in enumerate(answers)]}
        vqa.append([text, answers, vqav2["vqav2_process_results"](doc, [text])["exact_match"]])
    pairs = [(one, two) for one in TEXTS for two in TEXTS if generator.random() < 0.12 or one == two]
    categories = [*mme["eval_type_dict"]["Perception"], *mme["eval_type_dict"]["Cognition"]]
    asked = [
        {"question_id": f"{category}/{image}", "category": category, "answer": answer, "reply": generator.choice(TEXTS[:12])}
        for category in categories for image in range(3) for answer in ("Yes", "No")
    ]  # fmt: skip
    by_kind: dict[str, list[Any]] = defaultdict(list)
    for doc in asked:
        for kind, one in mme["mme_process_results"](doc, [doc["reply"]]).items():
            by_kind[kind].append(one)
    said = [(generator.choice(["yes", "no", "Yes", "No "]), generator.choice(["yes", "no"])) for _ in range(60)]
    polled = [pope["pope_process_results"]({"question_id": 0, "answer": answer}, [text]) for text, answer in said]
    fixture = {
        "peer": "lmms-eval 0.7.3",
        "command": COMMAND,
        "official": {text: process.process_digit_article(process.process_punctuation(text.strip())) for text in TEXTS},
        "evalai": {text: process(text) for text in TEXTS},
        "vqa_accuracy": vqa,
        "anls": [[a, b, float(metrics["anls"]([b], [a])["anls"])] for a, b in pairs],
        "relaxed": [[a, b, bool(relaxed(a, b))] for a, b in pairs],
        "gqa": [
            [a, b, bool(metrics["exact_match_hf_evaluate"]([a], [b], ignore_case=True, ignore_punctuation=True)["exact_match"])]
            for a, b in pairs
        ],
        "mme_words": {text: mme["parse_pred_ans"](text) for text in TEXTS},
        "mme": {
            "rows": [[doc["question_id"], doc["category"], doc["reply"], doc["answer"]] for doc in asked],
            **{kind: mme["mme_aggregate_results"](found) for kind, found in by_kind.items()},
        },
        "pope": {
            "rows": said,
            **{name: pope[f"pope_aggregate_{name}"]([one[f"pope_{name}"] for one in polled]) for name in names},
        },
        "scienceqa": [
            [reply, letter, science["sqa_process_results"]({"choices": OPTIONS, "answer": number}, [reply])["exact_match"]]
            for reply in REPLIES for number, letter in enumerate("ABCD")
        ],
        "open": [[reply, gold, bool(mmmu["eval_open"](gold, mmmu["parse_open_response"](reply)))] for reply, gold in OPEN],
    }  # fmt: skip
    (HERE / "answers.json").write_text(json.dumps(fixture, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
