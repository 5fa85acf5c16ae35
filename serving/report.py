"""What `serve check` leaves: ``check.json``, a card and, last, the manifest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from finetune.export.questions import accuracy_sentences
from serving.check import Checked, CheckSettings
from serving.load import Level
from winnow.files import sha256_file, strict_json, write_text
from winnow.run import MANIFEST, write_manifest
from winnow.text import escaped

CHECK = "check.json"
STAGE = "serve check"
_SHOWN = 5  # differing rows in the card


def write_check(checked: Checked, settings: CheckSettings, out: Path, seconds: float) -> None:
    """Write the folder of a check; an earlier one there is replaced."""
    (out / MANIFEST).unlink(missing_ok=True)
    write_text(out / CHECK, strict_json(checked.to_json(), indent=2) + "\n")
    write_text(out / "README.md", card(checked))
    recipe = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(settings).items()}
    write_manifest(
        out, stage=STAGE, recipe=recipe, inputs={"run": sha256_file(settings.run / MANIFEST)},
        outputs=[out / CHECK, out / "README.md"], seconds={"check": seconds}, seeds={"questions": settings.seed},
        counts={"prompts": checked.answers.prompts, "faults": len(checked.faults), "unanswered": checked.unanswered},
        extra={"machine": {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}},
    )  # fmt: skip


def sentences(checked: Checked) -> list[str]:
    """The comparison in words."""
    answers, images = checked.answers, checked.image_tokens
    tokens = "not reported" if answers.prompt_tokens is None else f"{answers.prompt_tokens:.0%}"
    found = [f"on {answers.prompts} kept prompts: same number of prompt tokens {tokens}"]
    if images.prompts:
        found.append(
            f"images of {images.prompts} prompts: {images.served:,} tokens served, {images.trained:,} trained; "
            f"{len(images.differing)} prompts differ"
        )
    same = f"same greedy answer {answers.answers:.0%}"
    if checked.expected_answers is None:
        found.append(f"{same}, {answers.unexplained} differences beyond rounding")
    else:
        found.append(f"{same}; the quantised export itself had {checked.expected_answers:.0%}, so these do not decide")
    if checked.accuracy is not None:
        found += accuracy_sentences(checked.accuracy)
    if checked.unanswered:
        found.append(f"{checked.unanswered:,} questions had no answer")
    return found


def load_table(levels: Sequence[Level]) -> list[list[str]]:
    """The speed as cells, with a header."""
    rows = [["users", "due/s", "answered/s", "tokens/s", "first p50", "first p99", "p50", "p90", "p99", "failed", ""]]
    for level in levels:
        times = (level.first_p50, level.first_p99, level.p50, level.p90, level.p99)
        shown = ["" if value is None else f"{value:.2f} s" for value in times]
        rates = [f"{value:.2f}" for value in (level.offered, level.served)] + [f"{level.tokens_per_second:.1f}"]
        state = "keeps up" if level.keeps_up else "falls behind"
        rows.append([str(level.users), *rates, *shown, f"{level.failed} of {level.asked}", state])
    return rows


def load_sentences(levels: Sequence[Level]) -> list[str]:
    """The speed in words, for the terminal."""
    header, *rows = load_table(levels)
    shown = []
    for row in rows:
        users, *figures, state = row
        parts = [f"{name} {value}" for name, value in zip(header[1:-1], figures, strict=True) if value]
        shown.append(f"{users} users: {', '.join(parts)}; {state}")
    return shown


def card(checked: Checked) -> str:
    """The card as Markdown."""
    faults = "".join(f"- **{fault}**\n" for fault in checked.faults)
    verdict = f"It is not the trained model:\n\n{faults}" if faults else "It is the trained model.\n"
    differing = checked.answers.differing[:_SHOWN]
    examples = "".join(
        f"- {escaped(key)}: trained “{escaped(own)}”, served “{escaped(its)}”\n" for key, own, its in differing
    )
    header, *rows = load_table(checked.load)
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in rows)]
    speed = (
        "\n## Speed\n\nAn open loop: questions come at random moments, whether or not earlier ones are answered. Times "
        "count from the moment at which a question was due.\n\n" + "\n".join(lines) + "\n"
    ) if rows else ""  # fmt: skip
    return f"""# {escaped(checked.model)} at {escaped(checked.url)}

Compared by Winnow with the model of `{checked.run}`. {verdict}
## Against the trained model

{"".join(f"- {sentence}{chr(10)}" for sentence in sentences(checked))}
{f"Greedy answers that differ:{chr(10)}{chr(10)}{examples}" if examples else ""}{speed}"""
