"""Verdicts that reviewers corrected, as cases: what was refused wrongly must pass, the rest must not."""

from __future__ import annotations

from pathlib import Path

from serving.guard.corrections import PREFIX, digest
from serving.guard.trial.cases import Case
from serving.guard.verdicts import days, read
from winnow.corrections import read_corrections, resolve


def corrected_cases(corrections: Path, log: Path) -> list[Case]:
    """A case for each corrected text whose contents the log has whole; they count as ``override``.

    Raises:
        UserError: the corrections cannot be read.
    """
    texts = {
        line.digest: line.contents
        for day in days(log)
        for line in read(log, day)
        if line.contents and line.stage == "text_in" and digest(line.contents) == line.digest
    }
    lines = [line for line in read_corrections(corrections) if line.sample_id.startswith(PREFIX)]
    found = []
    for name, resolved in resolve(lines).items():
        actions = {line.action for line in resolved.agreed} & {"keep", "drop"}
        refused = name.removeprefix(PREFIX)
        if len(actions) == 1 and refused in texts:
            found.append(
                Case(
                    id=f"corrected/{refused[:16]}", kind="override", attack="drop" in actions, language="und",
                    source="a guard's log", license="not published", text=texts[refused],
                )
            )  # fmt: skip
    return found
