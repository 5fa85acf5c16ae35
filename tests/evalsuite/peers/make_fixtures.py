"""Let pycocoevalcap (with its Java tokeniser) compute the values that our metrics are tested against.

    pip install pycocoevalcap==1.2
    python tests/evalsuite/peers/make_fixtures.py

Needs Java. Writes ``tokens.json`` and ``scores.json`` beside this file.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import random
from pathlib import Path

from hard_captions import HARD, LINES, caption_set
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

from evalsuite.verify_java import find_jar, java_tokens

HERE = Path(__file__).parent
COMMAND = "python tests/evalsuite/peers/make_fixtures.py"


def write(name: str, **content: object) -> None:
    """Write a fixture with what it was made by."""
    about = {"peer": f"pycocoevalcap {importlib.metadata.version('pycocoevalcap')}", "command": COMMAND}
    text = json.dumps({**about, **content}, ensure_ascii=False, indent=0)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Write both fixtures."""
    chunks = sorted({chunk for line in LINES for chunk in line.split(" ") if chunk})
    captions = [*HARD, *LINES, *(f"a {chunk} b" for chunk in chunks)]
    write("tokens.json", tokens=dict(zip(captions, java_tokens(captions, find_jar()), strict=True)))
    sets = []
    for seed in (0, 1, 2):
        predictions, references = caption_set(random.Random(seed))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            tokenizer = ptbtokenizer.PTBTokenizer()
            gts = tokenizer.tokenize({k: [{"caption": c} for c in v] for k, v in references.items()})
            res = tokenizer.tokenize({k: [{"caption": v}] for k, v in predictions.items()})
            bleu, bleu_each = Bleu(4).compute_score(gts, res)
            cider, cider_each = Cider().compute_score(gts, res)
            rouge, rouge_each = Rouge().compute_score(gts, res)
        sets.append(
            {
                "seed": seed,
                "bleu": bleu, "bleu_each": [list(row) for row in zip(*bleu_each, strict=True)],
                "cider": float(cider), "cider_each": cider_each.tolist(),
                "rouge_l": float(rouge), "rouge_l_each": rouge_each.tolist(),
            }
        )  # fmt: skip
    write("scores.json", sets=sets)


if __name__ == "__main__":
    main()
