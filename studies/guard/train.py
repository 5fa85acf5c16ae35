"""Train the guard's classifier of wording, and say what it and the rules find and mistake.

    python -m studies.guard.train --sources FOLDER --docs

``studies.guard.sources`` says which clones FOLDER has to have. It writes ``serving/guard/wording.safetensors``, the
tables of ``docs/howto/guard.md`` with ``--docs``, and takes about ten minutes of one core. The two files of cases that
no author of rules or phrases has read are opened only to leave out texts that stand in them word for word.

Recall is of attacks of sets that were left out: four folds hold the attacks of whole public sets, whole lines of
phrases and whole files of cases. A set that is in a fold with others is left out together with them. False alarms are
of harmless texts that were left out one by one, and of three sets that nothing was learnt from. The threshold of the
shipped policy is the one at which 0.5% of the harmless texts of IFEval, Self-Instruct, FastChat and PromptSource were
refused when they were left out, learnt without opened.jsonl and third_seen.jsonl.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from serving.guard import injection
from serving.guard.policy import InputText
from serving.guard.trial.attack import Share
from serving.guard.wording import SHIPPED, Weights
from studies.guard.learning import FOLDS, Floats, Measured, fit, folds_of, measured, unseen_logits, weights_of
from studies.guard.sources import SOURCES, Text, texts_of
from studies.guard.texts import HELD_OUT, everything
from winnow.files import atomic_path
from winnow.text import table

PAGE = Path("docs/howto/guard.md")
_BEGIN, _END = "<!-- wording: begin -->", "<!-- wording: end -->"
_MOST = 3000  # texts of a set that are measured with
_TITLES = {
    "cyberseceval": "CyberSecEval, English", "cyberseceval_many": "CyberSecEval, 17 languages",
    "deepset": "deepset", "in_the_wild": "jailbreaks in the wild", "giskard": "Giskard", "langkit": "LangKit",
    "hinglish": "Hinglish", "tatoeba": "sentences in 29 languages (Tatoeba)", "xgqa": "xGQA, 8 languages",
    "vqa_rad": "VQA-RAD", "mgsm": "sums in 11 languages (MGSM)", "ifeval": "IFEval, 4 languages",
    "self_instruct": "Self-Instruct", "fastchat": "MT-Bench and Vicuna", "sroie": "receipts as OCR reads them (SROIE)",
    "awesome": "roles to play (Awesome ChatGPT Prompts)", "promptsource": "PromptSource",
    "seen": "`seen.jsonl`", "opened": "`opened.jsonl`", "third_seen": "`third_seen.jsonl`",
    "notinject": "NotInject: words of attacks", "open_assistant": "Open Assistant",
    "wildguard": "WildGuardMix: harmless in the form of a jailbreak",
}  # fmt: skip


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="a folder of clones")
    parser.add_argument("--docs", action="store_true", help=f"write the tables into {PAGE}")
    given = parser.parse_args()
    data = measured(everything(given.sources))
    weights = weights_of(*fit(data))
    write(weights, data)
    logits = unseen_logits(data, folds_of(data.texts))
    shown = "\n\n".join((recall(data, logits), languages(data), false_alarms(data, logits, weights, given.sources)))
    print(shown)
    if given.docs:
        page = PAGE.read_text()
        within = re.compile(f"({_BEGIN}\n).+?(\n{_END})", re.DOTALL)
        PAGE.write_text(within.sub(lambda marks: f"{marks[1]}{shown}{marks[2]}", page))


def write(weights: Weights, data: Measured) -> None:
    """The file that ships, with where the texts are from."""
    head = np.array([weights.bias, *weights.slots], np.float32)
    sources = {
        name: f"{source.repository}@{source.commit[:12]}, {source.license}"
        for name, source in SOURCES.items() if name not in HELD_OUT
    }  # fmt: skip
    about = {"command": "python -m studies.guard.train", "texts": str(len(data.texts)), "sources": json.dumps(sources)}
    with atomic_path(SHIPPED) as path:
        path.write_bytes(save({"table": weights.table.astype(np.float16), "head": head}, about))


def recall(data: Measured, logits: Floats) -> str:
    """A table of attacks that were left out, by set."""
    rows = []
    for name in _sets(data, attack=True):
        of_set = np.array([text.source == name for text in data.texts])
        rows.append(_row(_TITLES[name], data.texts, logits, np.flatnonzero(of_set & data.attack)))
    return table(["attacks of a set that was left out", "n", "rules", "classifier", "both"], rows)


def languages(data: Measured) -> str:
    """A table of phrases whose language was left out, seven languages at a time."""
    known = sorted({text.language for text in data.texts if text.source == "phrases"} - {"en"})
    folds = np.array([known.index(text.language) % FOLDS if text.language in known else -1 for text in data.texts])
    logits = unseen_logits(data, folds)
    phrases = (folds >= 0) & np.array([text.source == "phrases" for text in data.texts])
    rows = [
        _row(title, data.texts, logits, np.flatnonzero(phrases & (data.attack == attack)))
        for title, attack in (("attacks", True), ("harmless look-alikes", False))
    ]
    return table(["phrases of a language that was left out", "n", "rules", "classifier", "both"], rows)


def false_alarms(data: Measured, logits: Floats, weights: Weights, folder: Path) -> str:
    """A table of harmless texts that were left out, by set."""
    rows = []
    for name in _sets(data, attack=False):
        chosen = [at for at, text in enumerate(data.texts) if text.source == name and not text.attack]
        rows.append(_row(_TITLES[name], data.texts, logits, np.array(chosen)))
    for name in HELD_OUT:
        held = measured(texts_of(folder, name))
        own = held.logits(np.concatenate([weights.table, weights.slots]), weights.bias)
        rows.append(_row(f"{_TITLES[name]} (never learnt from)", held.texts, own, np.arange(len(own))))
    return table(["harmless texts that were left out", "n", "rules", "classifier", "both"], rows)


def _sets(data: Measured, *, attack: bool) -> list[str]:
    """Names of sets that have attacks, or harmless texts."""
    return [name for name in _TITLES if any(text.source == name and text.attack == attack for text in data.texts)]


def _row(title: str, texts: Sequence[Text], logits: Floats, chosen: npt.NDArray[np.int64]) -> list[str]:
    """A row of a table: what is refused of at most ``_MOST`` texts, by the rules, by the classifier and by both."""
    chosen = np.random.default_rng(0).permutation(chosen)[:_MOST]
    above = InputText().wording
    assert above is not None
    by_rule = np.array([injection.find(texts[at].text) is not None for at in chosen])
    by_wording = logits[chosen] > np.log(above / (1 - above))
    return [title, str(len(chosen)), *map(_share, (by_rule, by_wording, by_rule | by_wording))]


def _share(refused: npt.NDArray[np.bool_]) -> str:
    found = Share(int(refused.sum()), len(refused))
    low, high = found.interval
    return f"{found.hits / found.of:.3f} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    main()
