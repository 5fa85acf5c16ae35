"""Let pycocoevalcap (with its Java tokeniser) compute the values that our metrics are tested against.

    pip install --target /tmp/peer --no-deps pycocoevalcap==1.2
    PYTHONPATH=/tmp/peer:. python tests/evalsuite/peers/make_fixtures.py

Needs Java. Writes ``tokens.json`` and ``scores.json`` beside this file.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import random
import subprocess
import tempfile
from pathlib import Path

from hard_captions import HARD, LINES, caption_set
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer

HERE = Path(__file__).parent
COMMAND = "PYTHONPATH=/tmp/peer:. python tests/evalsuite/peers/make_fixtures.py"


def java_tokens(captions: list[str]) -> list[str]:
    """Tokens of each caption read alone: a line with one strange word stands between any two."""
    jar_folder = Path(ptbtokenizer.__file__).parent
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False, encoding="utf-8") as handle:
        handle.write("\nzq\n".join(captions) + "\n")
    command = ["java", "-cp", ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR, "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", handle.name]
    done = subprocess.run(command, cwd=jar_folder, capture_output=True, check=True)
    Path(handle.name).unlink()
    lines = done.stdout.decode().split("\n")[: 2 * len(captions) : 2]
    kept = [[token for token in line.rstrip().split(" ") if token not in ptbtokenizer.PUNCTUATIONS] for line in lines]
    return [" ".join(tokens) for tokens in kept]


def write(name: str, **content: object) -> None:
    """Write a fixture with what it was made by."""
    about = {"peer": f"pycocoevalcap {importlib.metadata.version('pycocoevalcap')}", "command": COMMAND}
    text = json.dumps({**about, **content}, ensure_ascii=False, indent=0)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Write both fixtures."""
    chunks = sorted({chunk for line in LINES for chunk in line.split(" ") if chunk})
    captions = [*HARD, *LINES, *(f"a {chunk} b" for chunk in chunks)]
    write("tokens.json", tokens=dict(zip(captions, java_tokens(captions), strict=True)))
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
