"""A few questions asked before a run: how long answers are, how they are read, and what all of them will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evalsuite.backends import Reply
from evalsuite.check.findings import Finding
from evalsuite.reading.read import read_answer
from evalsuite.tasks.rows import TaskRow
from evalsuite.tasks.spec import TaskSpec
from winnow.text import one_line


@dataclass(frozen=True)
class Prompt:
    """What the model will see of one row.

    Attributes:
        text: the rendered chat; of a server its messages as JSON.
        images: paths of the images that it is asked with.
    """

    task: str
    sample_id: str
    text: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class TriedReply:
    """A reply of the trial and how it was read."""

    sample_id: str
    raw: str
    answer: str | None
    status: str
    truncated: bool
    output_tokens: int
    error: str | None
    references: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """Some rows of one task, asked.

    Attributes:
        requests: questions of the whole task that are not answered yet; equal ones count once.
        limit: most tokens of an answer.
        input_tokens, output_tokens: mean of a reply; 0 where a server counts none.
        seconds: mean of a reply; on this machine a share of its batch's time.
    """

    task: str
    requests: int
    limit: int
    replies: tuple[TriedReply, ...]
    input_tokens: float
    output_tokens: float
    seconds: float

    @property
    def statuses(self) -> dict[str, int]:
        """Status → number of replies."""
        return dict(Counter(reply.status for reply in self.replies).most_common())

    @property
    def truncated(self) -> int:
        """Replies that were cut off at the limit."""
        return sum(reply.truncated for reply in self.replies)

    @property
    def longest(self) -> int:
        """Tokens of the longest reply."""
        return max((reply.output_tokens for reply in self.replies), default=0)


@dataclass(frozen=True)
class CheckReport:
    """What ``evalsuite check`` found.

    Attributes:
        model: for people.
        rows: task → rows that would be asked.
        requests: task → questions that are not answered yet.
        at_a_time: requests in flight; 1 on this machine, whose replies' seconds are shares of a batch.
    """

    name: str
    model: str
    rows: dict[str, int]
    requests: dict[str, int]
    findings: list[Finding]
    prompts: list[Prompt]
    trials: list[Trial]
    at_a_time: int = 1


def trial_of(spec: TaskSpec, requests: int, answered: Sequence[tuple[TaskRow, Reply]]) -> Trial:
    """Read the replies as a run would."""
    replies, came = [], [reply for _, reply in answered if reply.finish_reason != "error"]
    for row, reply in answered:
        read = read_answer(reply.raw, reply.finish_reason, spec.extraction, row.choices, spec.generation.stop)
        replies.append(
            TriedReply(
                row.sample_id, reply.raw, read.answer, read.status, read.truncated, reply.output_tokens, reply.error,
                row.references,
            )
        )  # fmt: skip
    count = max(len(came), 1)
    return Trial(
        task=spec.name,
        requests=requests,
        limit=spec.generation.max_new_tokens,
        replies=tuple(replies),
        input_tokens=sum(reply.input_tokens for reply in came) / count,
        output_tokens=sum(reply.output_tokens for reply in came) / count,
        seconds=sum(reply.seconds for reply in came) / count,
    )


def trial_findings(trial: Trial) -> Iterator[Finding]:
    """What the replies show: failures, answers that were cut off, replies without an answer."""
    count = len(trial.replies)
    for status, what, fix in (
        ("failed", "requests failed", "see to the server or the images first"),
        ("refused", "replies are refusals", "change the prompt, or expect a score that counts them as wrong"),
        ("unparsed", "replies hold no answer that the extraction reads", "change `prompt` or `extraction`"),
    ):
        rows = [reply for reply in trial.replies if reply.status == status]
        if rows:
            level = "error" if status == "failed" and len(rows) == count else "warning"
            seen = one_line((rows[0].error if status == "failed" else rows[0].raw) or "", 80)
            text = f"{len(rows)} of {count} {what}, such as {f'“{seen}”' if seen else 'an empty one'}"
            yield Finding(level, trial.task, text, fix, len(rows), (rows[0].sample_id,))  # type: ignore[arg-type]
    if trial.truncated:
        text = f"{trial.truncated} of {count} replies were cut off at max_new_tokens ({trial.limit})"
        fix = "raise `generation.max_new_tokens`, in the task or in the recipe"
        first = next(reply.sample_id for reply in trial.replies if reply.truncated)
        yield Finding("warning", trial.task, text, fix, trial.truncated, (first,))
