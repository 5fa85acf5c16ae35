"""What the signals of texts find on real texts: near-duplicates, leaks, language, personal data, swear words.

    git clone https://github.com/longle0702/med-v2qa          # VQA-RAD
    git clone https://github.com/zzzDavid/ICDAR-2019-SROIE    # receipts
    git clone https://github.com/Adapter-Hub/xGQA             # questions in eight languages, CC BY 4.0
    git clone https://github.com/t-davidson/hate-speech-and-offensive-language   # labelled posts, MIT
    python -m studies.texts med-v2qa ICDAR-2019-SROIE xGQA hate-speech-and-offensive-language

Prints Markdown tables. Language needs the extra ``language-id``, and easy-vqa the extra ``demo``.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from curate.duplicates.texts.shingles import read_shingles, words_of
from curate.duplicates.texts.similar_pairs import similar_pairs
from curate.signals.language import LEAST_LETTERS, language, letters
from curate.signals.pii import kinds_of
from curate.signals.profanity import first_profanity
from winnow.rows.keys import normalized
from winnow.text import table

_LANGUAGES = ("bn", "de", "en", "id", "ko", "pt", "ru", "zh")


def rad(folder: Path, part: str) -> list[tuple[str, str]]:
    """Questions and answers of VQA-RAD; ``part`` is ``train`` or ``test``."""
    rows = json.loads((folder / "data_RAD" / f"{part}set.json").read_text(encoding="utf-8"))
    return [(str(row["question"]), str(row["answer"])) for row in rows]


def near_duplicates(name: str, texts: Iterable[str], threshold: float, least: int = 5) -> list[str]:
    """One line: distinct texts, pairs of all pairs by exact Jaccard, those found, those found that are none."""
    distinct = [words for text in dict.fromkeys(map(normalized, texts)) if len(words := words_of(text)) >= least]
    with tempfile.TemporaryDirectory() as folder:
        shingles = read_shingles(distinct, Path(folder, "shingles.u8"))
        pairs = similar_pairs(shingles, threshold)
        found = set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
    sets = [{*words, *zip(["<", *words], [*words, ">"], strict=True)} for words in distinct]
    digits = [sorted(word for word in words if any(map(str.isdigit, word))) for words in distinct]
    order = sorted(range(len(sets)), key=lambda at: len(sets[at]))
    wanted = set()
    for place, small in enumerate(order):
        for large in order[place + 1 :]:
            if len(sets[small]) < threshold * len(sets[large]):
                break
            shared = len(sets[small] & sets[large])
            union = len(sets[small]) + len(sets[large]) - shared
            if shared >= threshold * union and digits[small] == digits[large]:
                wanted.add((min(small, large), max(small, large)))
    recall = f"{len(found & wanted) / len(wanted):.3f}" if wanted else "–"
    return [name, f"{threshold}", f"{len(distinct):,}", f"{len(wanted):,}", recall, f"{len(found - wanted)}"]


def languages(folder: Path, count: int) -> str:
    """Accuracy by the length of the question, in letters as ``curate.signals.language`` counts them."""
    asked = [
        (code, row["question"])
        for code in _LANGUAGES
        for row in json.loads((folder / f"data/few_shot/{code}/dev.json").read_text(encoding="utf-8")).values()
    ]
    asked = random.Random(0).sample(asked, min(count, len(asked)))
    right: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    started = time.process_time()
    for code, question in asked:
        found, confidence = language(question)
        if found is None:
            judged["not judged"] += 1
            continue
        size = next(f"below {top} letters" for top in (12, 20, 30, 1000) if letters(question) < top)
        for group in (code, size, "all judged", *(["confidence ≥ 0.6"] if (confidence or 0) >= 0.6 else [])):
            judged[group] += 1
            right[group] += found == code
    seconds = (time.process_time() - started) / len(asked)
    lines = [[group, f"{judged[group]:,}", f"{right[group] / judged[group]:.3f}"] for group in sorted(judged)]
    return f"{table(['questions', 'n', 'right'], lines)}\n\n{seconds * 1e6:.0f} µs a question; least {LEAST_LETTERS}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("rad", "receipts", "xgqa", "posts"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--questions", type=int, default=4000, help="of xGQA that are judged")
    given = parser.parse_args()
    train, test = rad(given.rad, "train"), rad(given.rad, "test")
    import easy_vqa

    easy = easy_vqa.get_train_questions()[0]
    receipts = [
        line.split(",", 8)[-1]
        for path in sorted((given.receipts / "data/box").glob("*.csv"))
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    lines = [
        near_duplicates(name, texts, threshold)
        for name, texts in (
            ("VQA-RAD questions", [question for question, _ in train + test]),
            ("VQA-RAD answers", [answer for _, answer in train + test]),
            ("easy-vqa questions", easy),
        )
        for threshold in (0.6, 0.8)
    ]
    print(table(["texts", "threshold", "distinct", "pairs", "recall", "false"], lines), end="\n\n")
    sets = {
        "VQA-RAD, questions and answers": [text for row in train + test for text in row],
        "easy-vqa questions": easy,
        "lines of SROIE receipts": receipts,
    }
    lines = []
    for name, texts in sets.items():
        started = time.process_time()
        kinds = Counter(kind for text in texts for kind in kinds_of(text))
        swearing = sum(first_profanity([text]) is not None for text in texts)
        seconds = (time.process_time() - started) / len(texts)
        found = ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items())) or "none"
        lines.append([name, f"{len(texts):,}", found, str(swearing), f"{seconds * 1e6:.1f}"])
    print(table(["texts", "n", "pii", "profanity", "µs a text"], lines), end="\n\n")
    with (given.posts / "data/labeled_data.csv").open(encoding="utf-8", newline="") as file:
        labelled = [(row["class"] != "2", row["tweet"]) for row in csv.DictReader(file)]
    marked = [(bad, first_profanity([text]) is not None) for bad, text in labelled]
    hits = sum(bad and found for bad, found in marked)
    flagged, toxic = sum(found for _, found in marked), sum(bad for bad, _ in marked)
    print(f"Posts: {len(marked):,}, offensive {toxic:,}; precision {hits / flagged:.3f}, recall {hits / toxic:.3f}\n")
    print(languages(given.xgqa, given.questions))


if __name__ == "__main__":
    main()
