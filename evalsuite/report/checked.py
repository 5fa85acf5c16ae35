"""What ``evalsuite check`` found, for the terminal: findings, prompts as the model sees them, answers, cost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalsuite.check import LEVELS, CheckReport, Finding, Prompt, Trial
from evalsuite.report.numbers import ends
from winnow.text import counted

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}
_SHOWN = 300  # characters of a reply
_LONGEST = 4000  # characters of a prompt


def print_findings(findings: Iterable[Finding], console: Console | None = None) -> None:
    """One line each, errors first."""
    console = console or Console()
    for finding in sorted(findings, key=lambda finding: LEVELS.index(finding.level)):
        console.print(Text.assemble((f"{finding.level}: ", _COLOURS[finding.level]), finding.sentence()))


def print_check(report: CheckReport, console: Console | None = None) -> None:
    """Everything that was checked."""
    console = console or Console()
    console.print(Text(report.name, style="bold"), Text(report.model, style="dim"))
    for task in report.rows:
        for prompt in report.prompts:
            if prompt.task == task:
                _print_prompt(prompt, console)
        for trial in report.trials:
            if trial.task == task:
                _print_trial(trial, console)
    console.print()
    for line in estimate(report):
        console.print(Text(line))
    console.print()
    print_findings(report.findings, console)
    console.print(Text(verdict(report.findings), style="bold"))


def _print_prompt(prompt: Prompt, console: Console) -> None:
    images = f"  images: {', '.join(prompt.images)}" if prompt.images else "  no image"
    console.print()
    console.print(Text.assemble((f"{prompt.task}: {prompt.sample_id}", "bold"), (images, "dim")))
    text = chat_text(prompt.text)
    console.print(Text(text if len(text) <= _LONGEST else text[:_LONGEST] + " …"))


def chat_text(chat: str) -> str:
    """A rendered chat as it is; a server's messages with their roles, texts as they are sent, and ``[image]``."""
    try:
        messages = json.loads(chat)
        turns = [(message["role"], message["content"]) for message in messages]
    except (ValueError, TypeError, KeyError):
        return chat
    lines = []
    for role, content in turns:
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        lines += [f"{role}:", *(block.get("text") or f"[{block['type']}]" for block in blocks)]
    return "\n".join(lines)


def _print_trial(trial: Trial, console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header in ("reply", "read as", "status", "tokens", "reference"):
        table.add_column(header, overflow="fold")
    for reply in trial.replies:
        status = reply.status + (", truncated" if reply.truncated else "")
        table.add_row(
            Text(repr(ends(reply.raw, _SHOWN)) if reply.error is None else reply.error),
            Text("–" if reply.answer is None else reply.answer[:_SHOWN]),
            status,
            f"{reply.output_tokens:,}",
            Text(" | ".join(dict.fromkeys(reply.references))[:_SHOWN]),
        )
    console.print()
    console.print(table)
    statuses = ", ".join(f"{count} {status}" for status, count in trial.statuses.items())
    cut = f"; {trial.truncated} cut off" if trial.truncated else ""
    longest = f"; the longest reply took {trial.longest:,} of {trial.limit:,} tokens" if trial.longest else ""
    console.print(Text(f"{trial.task}: {statuses}{cut}{longest}"))


def estimate(report: CheckReport) -> list[str]:
    """What the rest of the run will take, task by task and in all."""
    tried = {trial.task: trial for trial in report.trials}
    lines, seconds, tokens = [], 0.0, 0.0
    for task, requests in report.requests.items():
        rows = counted(report.rows[task], "row")
        line = f"{task}: {rows}, " + (f"{counted(requests, 'question')} to ask" if requests else "all answered")
        if requests and (trial := tried.get(task)):
            given, written = trial.input_tokens * requests, trial.output_tokens * requests
            took = trial.seconds * requests / report.at_a_time
            line += f", about {given:,.0f} tokens in and {written:,.0f} out, {duration(took)}"
            seconds, tokens = seconds + took, tokens + given + written
        lines.append(line)
    if len(tried) > 1 and seconds:
        asked = counted(sum(report.requests.values()), "question")
        lines.append(f"all: {asked}, about {tokens:,.0f} tokens, {duration(seconds)}")
    if seconds and report.at_a_time > 1:
        lines.append(f"Times assume {report.at_a_time} requests at a time, each answered as fast as those tried.")
    return lines


def duration(seconds: float) -> str:
    """Seconds in words: under 120 as seconds, under two hours as minutes, else hours."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def verdict(findings: Sequence[Finding]) -> str:
    """The result in one sentence."""
    found = {level: sum(finding.level == level for finding in findings) for level in LEVELS}
    if found["error"]:
        return f"{counted(found['error'], 'error')}: `evalsuite run` would ask nothing."
    return f"No error, {counted(found['warning'], 'warning')}, {counted(found['note'], 'note')}."
