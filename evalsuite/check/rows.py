"""All rows of a task, once: what is wrong with some of them, or with all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import islice

from evalsuite.check.findings import Counted, Finding, Level
from evalsuite.check.looks import row_looks
from evalsuite.check.replies import answers_of, misfits
from evalsuite.tasks.load import Task
from evalsuite.tasks.rows import TaskRow
from evalsuite.tasks.spec import TaskSpec
from winnow.errors import UserError
from winnow.text import one_line

_CHUNK = 4096  # rows scored at a time
_HALF = 0.5  # more of the rows than this, and the task is wrong, not some of its rows


def check_rows(task: Task, count_tokens: Callable[[str], int] | None = None) -> list[Finding]:
    """What the rows show.

    Args:
        count_tokens: of a text, by the model's own tokeniser; None counts words, of which a text has fewer.
    """
    spec, troubles = task.spec, defaultdict[str, Counted](Counted)
    general = [*_of_source(task), *_of_metrics(task)]
    if any(finding.level == "error" for finding in general):
        return general
    look, asked, missing = row_looks(spec, count_tokens), set[bytes](), 0.0
    try:
        for rows in _chunks(task.rows):
            for row in rows:
                for kind, seen in look(row):
                    troubles[kind].add(row.sample_id, seen)
                whole = "\0".join([str(row.repeat), *row.earlier, row.prompt, *row.images])
                key = blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=8)
                if key.digest() in asked:
                    troubles["twice"].add(row.sample_id)
                asked.add(key.digest())
            for misfit in misfits(rows, spec):
                troubles[misfit.kind].add(misfit.sample_id, misfit.seen)
                missing += 1 - misfit.share if misfit.kind == "part" else 0.0
    except UserError as error:  # as scoring would end
        fix = "scoring would end there: change the references or the metric, or map the references with `answer_map`"
        return [*general, Finding("error", spec.name, str(error), fix)]
    best = 100 * (1 - missing / len(task.rows))
    return [*general, *_findings(spec, troubles, len(task.rows), best)]


def _chunks(rows: Sequence[TaskRow]) -> Iterator[list[TaskRow]]:
    following = iter(rows)
    while chunk := list(islice(following, _CHUNK)):
        yield chunk


def _findings(spec: TaskSpec, troubles: dict[str, Counted], rows: int, best: float) -> Iterator[Finding]:
    """The troubles that occurred, in sentences; the first level is that of one that most rows have."""
    kind, limit = spec.extraction.kind, spec.generation.max_new_tokens
    sentences: dict[str, tuple[Level | None, Level, str, str]] = {
        "unread": (
            "error", "warning", f"no reference is one that `kind: {kind}` reads, such as “{{first}}”",
            "no reply can be right there: change `extraction` or the references, or map them with `answer_map`",
        ),
        "wrong": (
            "error", "warning", "a reply that is the reference counts as wrong: {first}",
            "change the references, the extraction or the metric",
        ),
        "part": (
            "warning", "note", f"right only in part at best: {{first}}, and a perfect model gets {best:.1f} %",
            "see that this is meant",
        ),
        "mapped": ("note", "note", "references in another form than replies: {first}", "see that this is meant"),
        "empty": ("warning", "warning", "an empty reference", "remove it"),
        "repeated": (None, "note", "a reference twice, such as “{first}”", "remove it, unless references are votes"),
        "twice": (
            "warning", "note", "a question that was asked before about the same image",
            "it is asked once, and counts as often as it is there",
        ),
        "long": (
            "error", "warning", f"no reference fits into {limit} tokens: {{first}}",
            "raise `generation.max_new_tokens`",
        ),
        "no options": (
            "error" if _needs_options(spec) else "warning", "note", f"nothing at `options: {spec.options}`",
            "give the key of a row that holds its options",
        ),
        "hidden": (
            "warning", "note", "options that the prompt does not show, such as “{first}”",
            "write {options} into `prompt`, unless the image shows them",
        ),
        "no letters": (
            "warning", "note", "options without letters, and a letter is to be read",
            "write {options} into `prompt`: it puts a letter before each",
        ),
        "options twice": (
            "warning", "note", "options shown twice, because the question has them already",
            "take {options} out of `prompt`",
        ),
    }  # fmt: skip
    for name, (most, few, what, fix) in sentences.items():
        if name in troubles:
            counted = troubles[name]
            if level := most if counted.rows > _HALF * rows else few:
                yield counted.finding(level, spec.name, what, fix)


def _needs_options(spec: TaskSpec) -> bool:
    return any("choices" in settings.definition.needs for key, settings in spec.metrics.items())


def _of_metrics(task: Task) -> Iterator[Finding]:
    """What metrics need and rows do not have, and what makes their numbers doubtful."""
    spec, rows = task.spec, task.rows
    answers = replace(
        answers_of(rows, [None] * len(rows)),
        confidences=[1.0 if spec.generation.logprobs else None] * len(rows),
        image_files=[row.images for row in rows],
    )
    doubts: dict[str, list[str]] = {}
    for key, settings in spec.metrics.items():
        metric = settings.definition
        if lacking := metric.lacking(answers):
            what, _, fix = lacking.partition("; ")
            yield Finding("error", spec.name, f"{key} {what}", fix)
        if metric.warn and (doubt := metric.warn(answers, settings)):
            doubts.setdefault(doubt, []).append(key)
    for doubt, keys in doubts.items():
        what, _, fix = doubt.partition("; ")
        named = what if what.startswith(f"{keys[0]} ") else f"{', '.join(keys)}: {what}"
        yield Finding("warning", spec.name, named, fix)


def _of_source(task: Task) -> Iterator[Finding]:
    name = task.spec.name
    if task.bad_rows:
        what = f"{len(task.bad_rows):,} rows of the source cannot be read: {one_line(task.bad_rows[0])}"
        yield Finding("warning", name, what, "they are not asked; `curate inspect` shows them")
    for reason, count in Counter(task.unscorable.values()).most_common():
        names = [one_line(name) for name, why in task.unscorable.items() if why == reason]
        yield Finding("warning", name, f"not asked: {one_line(reason)}", "", count, tuple(names[:3]))
