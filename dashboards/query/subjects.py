"""The row on the sample page as what a reviewer judges."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.corrections.draft import Subject
from dashboards.query.decisions import Fate
from dashboards.query.samples import Said


def subject_of(said: Sequence[Said], fates: Sequence[Fate]) -> Subject:
    """The evaluated row where a run answered it, else the row of the first curated set that holds it.

    Args:
        said: answers that are there; ``fates`` may only be empty if this is not.
    """
    for item in said:
        if item.answer:
            answer = item.answer
            return Subject(
                "evals", answer.sample_id, answer.content_hash, answer.question, answer.references, item.run.name
            )
    fate = fates[0]
    references = fate.answers or ((fate.answer,) if fate.answer else ())
    return Subject("curated", fate.sample_id, fate.content_hash, fate.question, references, fate.folder.name)
