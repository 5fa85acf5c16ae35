"""Sentences about scores that both reports and the terminal use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalsuite.check import Finding
from evalsuite.report.numbers import between, number, probability, share
from winnow.text import counted


def how_to_read(scores: Mapping[str, Any]) -> list[str]:
    """What the numbers mean, as a list of sentences."""
    return [
        "A row without an answer (unparsed, refused, failed) scores 0; a reply that was cut off is read as far as it "
        "goes. Coverage is the share of rows with an answer, and “of answered” is the score on those alone.",
        f"Intervals hold {round(100 * scores['level'])} % of 2,000 bootstrap resamples of whole images, because "
        "questions about one image are not independent. Where every row is right, or every row wrong, the bound is "
        "Clopper and Pearson's with images as trials.",
        _scale_sentence(scores),
    ]


def _scale_sentence(scores: Mapping[str, Any]) -> str:
    """How scores are shown: shares × 100, and up to where the others go."""
    entries = [entry for task in scores["tasks"].values() for entry in task["metrics"].values()]
    tops = {entry["title"]: entry["top"] for entry in entries if entry["unit"] != "%" and entry["top"] is not None}
    others = ", ".join(f"{title}, which goes to {top:g}" for title, top in tops.items())
    return f"Scores are × 100, except {others}." if others else "Scores are × 100."


def status_sentence(task: Mapping[str, Any]) -> str:
    """Rows by status, and how many replies were cut off."""
    counted = ", ".join(f"{count:,} {status}" for status, count in task["statuses"].items() if count)
    cut = f"; {task['truncated']:,} cut off at the token limit" if task.get("truncated") else ""
    return f"{task['n']:,} rows, {share(task['coverage'])} answered: {counted}{cut}."


def failures_sentence(task: Mapping[str, Any]) -> str:
    """Why rows have no reply, the commonest reasons; '' if all have one."""
    parts = [
        f"{failure['error']} ({failure['rows']:,} {'row' if failure['rows'] == 1 else 'rows'}"
        f"{', asked again when the run is repeated' if failure['retry'] else ''})"
        for failure in task.get("failures", ())
    ]
    return f"Failed: {'; '.join(parts)}." if parts else ""


def truncated_sentence(task: Mapping[str, Any]) -> str:
    """The headline with cut-off replies as they were read, and with all of them as wrong; '' if none was cut off."""
    entry = _headline(task)
    if not task.get("truncated") or entry.get("truncated_as_wrong") is None:
        return ""
    read, wrong = (number(entry["unit"], value) for value in (entry["value"], entry["truncated_as_wrong"]))
    scored = (
        f"{entry['title']} is {read} with them as read and also with them as wrong"
        if read == wrong
        else f"{entry['title']} is {read} with them as read, {wrong} with them as wrong"
    )
    return f"Cut-off replies: {scored}. A higher `generation.max_new_tokens` cuts off fewer."


def reading_sentence(task: Mapping[str, Any]) -> str:
    """Whether other readers find more right rows; '' where there is no other reader."""
    reading = task.get("reading")
    if not reading or not reading["readers"]:
        return ""
    if reading["warning"]:
        return f"Reading: {reading['warning']}"
    if not any(reader["changed"] for reader in reading["readers"]):
        return "Reading: no other reader changes a score."
    fair = [reader for reader in reading["readers"] if not reader["guesses"]]
    most = max(fair, key=lambda reader: reader["gained"], default=None)
    gained = most["gained"] / reading["rows"] if most else 0.0
    aside = "" if len(fair) == len(reading["readers"]) else " (those that guess aside)"
    if most is None or not gained:
        return f"Reading: no other reader gains a row{aside}."
    least = "scores higher" if gained > 0.01 else "gains more than 1 % of the rows"
    return f"Reading: no other reader {least}{aside}; “{most['name']}” gains most, {share(gained)}."


READING_HEADER = ["reader", "score", "rows that change", "share", "gained", "lost"]


def reading_rows(task: Mapping[str, Any]) -> list[list[str]]:
    """Under ``READING_HEADER``: the task's own reader, then those that change scores, the largest change first."""
    reading = task.get("reading")
    others = [reader for reader in reading["readers"] if reader["changed"]] if reading else []
    if not others:
        return []
    entry = _headline(task)
    return [
        ["the task's own", number(entry["unit"], entry["value"]), "–", "–", "–", "–"],
        *(
            [
                reader["name"] + (" (guesses)" if reader["guesses"] else ""), number(entry["unit"], reader["score"]),
                f"{reader['changed']:,}", share(reader["share"]), f"{reader['gained']:,}", f"{reader['lost']:,}",
            ]
            for reader in sorted(others, key=lambda reader: -reader["changed"])
        ),
    ]  # fmt: skip


def again_sentence(scores: Mapping[str, Any]) -> str:
    """Which rows were asked once more because of what the reply was; '' if none was."""
    again = scores.get("again")
    if not again:
        return ""
    before = ", ".join(f"{count:,} {status}" for status, count in again["statuses"].items())
    return (
        f"Asked again with --again since {again['since']}: {counted(again['requests'], 'question')}, whose first "
        f"replies were {before}. Rows chosen by their reply had a second try, so scores are not those of one try."
    )


def check_sentences(scores: Mapping[str, Any], task: str) -> list[str]:
    """Warnings of the check before the run, about one task or, with '', about the whole recipe."""
    found = [Finding.from_json(entry) for entry in scores["check"]]
    return [finding.sentence() for finding in found if finding.level == "warning" and finding.task == task]


def partial_sentence(scores: Mapping[str, Any]) -> str:
    """A warning that the run was stopped; '' for a finished one."""
    partial = scores["partial"]
    if not partial:
        return ""
    return (
        f"Partial: the run was stopped after {partial['rows']:,} of {partial['of']:,} rows. "
        "Run it again to ask the rest."
    )


def skipped_sentence(entry: Mapping[str, Any] | None) -> str:
    """Rows of the task's source that were not asked; '' if all were."""
    if not entry:
        return ""
    parts = []
    if entry["bad"]:
        parts.append(f"{entry['bad']:,} rows of the source could not be read")
    if entry["without_answer"]:
        such = f", such as {entry['unscorable'][0]}" if entry.get("unscorable") else ""
        parts.append(f"{entry['without_answer']:,} rows cannot be scored{such}")
    return f"Not asked: {'; '.join(parts)}." if parts else ""


def notes_sentence(task: Mapping[str, Any]) -> str:
    """What a task's scores must be read with; '' for a task that was asked as it is published."""
    return f"Note: {'; '.join(task['notes'])}." if task.get("notes") else ""


def intersection_sentence(task: Mapping[str, Any]) -> str:
    """On which rows runs are compared."""
    text = f"Compared on the {task['n']:,} rows that all runs hold"
    parts = [
        (task["only_in_a"], "only in the baseline"),
        (task["only_in_b"], "only in this run"),
        (task["elsewhere"], "that another run lacks"),
        (task["changed"], "with another question, image or reference"),
        (task["failed"], "whose request failed"),
    ]
    left_out = [f"{count:,} {what}" for count, what in parts if count]
    text += f"; left out: {', '.join(left_out)}." if left_out else "; nothing is left out."
    text += f" Answered: A {share(task['coverage']['a'])}, B {share(task['coverage']['b'])}."
    if judges := task.get("judges"):
        text += f" The replies were not judged alike, A: {judges['a']}; B: {judges['b']}: do not compare those scores."
    return text


def wins_sentence(task: Mapping[str, Any]) -> str:
    """Rows won, lost and wrong on both sides."""
    return (
        f"On {_headline(task)['title']}, {task['better']:,} rows are better, {task['worse']:,} worse, and "
        f"{task['both_wrong']:,} score 0 in both."
    )


def finding_sentences(task: Mapping[str, Any], scores: Mapping[str, Any]) -> list[str]:
    """Scores on rows with training images, and with reviewers' corrections."""
    return [sentence for sentence in (_overlap_sentence(task, scores), _corrected_sentence(task)) if sentence]


def _overlap_sentence(task: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    entry, facts, name, metric = task.get("contamination"), scores["contamination"], task["headline"], _headline(task)
    if not entry or not facts:
        return ""
    clean, touched = entry["clean"], entry["touched"]
    if not touched["n"]:
        return f"No row shows an image that {facts['training_set']} kept for training."
    text = (
        f"{touched['n']:,} rows show an image that {facts['training_set']} kept for training: {metric['title']} is "
        f"{number(metric['unit'], touched[name]['value'])} on them"
    )
    if not clean["n"]:
        return f"{text}; no row is clean."
    found, unit = entry["difference"][name], metric["unit"]
    return (
        f"{text} and {number(unit, clean[name]['value'])} on the {clean['n']:,} clean ones, a difference of "
        f"{number(unit, found['value'], sign=True)} ({between(unit, found, sign=True)})."
    )


def _corrected_sentence(task: Mapping[str, Any]) -> str:
    entry, metric = task.get("corrected"), _headline(task)
    if not entry:
        return ""
    counted = ", ".join(f"{count:,} {status}" for status, count in entry["counts"].items())
    if not entry["metrics"]:
        return f"Reviewers left no row to score ({counted})."
    corrected, unit = entry["metrics"][task["headline"]], metric["unit"]
    return (
        f"With reviewers' corrections ({counted}) {metric['title']} is {number(unit, corrected['value'])} "
        f"({between(unit, corrected)}) on {entry['n']:,} rows, {number(unit, metric['value'])} without."
        f"{_which_answers(entry.get('answers'))}"
    )


def _which_answers(answers: Mapping[str, int] | None) -> str:
    """Whether reviewers looked at wrong answers only."""
    if not answers or not answers["wrong"]:
        return ""
    if not answers["right"]:
        return (
            f" All {answers['wrong']:,} rows that they decided on were wrong answers, whose corrections can only "
            "improve the score; a random sample of right and wrong answers would show the error rate of the references."
        )
    return f" They decided on {answers['right']:,} right and {answers['wrong']:,} wrong answers."


def batch_sentence(found: Mapping[str, Any]) -> str:
    """Whether the batch size changed answers."""
    failed = f"; {found['failed']:,} could not be asked" if found["failed"] else ""
    return (
        f"Batch check: {found['differ']:,} of {found['rows']:,} answers differ between batches of 1 and of "
        f"{found['batch_size']:,}{failed}."
    )


def slices_sentence(name: str, task: Mapping[str, Any]) -> str:
    """From what a list of slices was made."""
    return (
        f"{name}: {task['tried']:,} slices of at least {task['min_rows']:,} rows and {task['min_images']:,} images out "
        f"of {', '.join(task['columns'])}; errors on {task['title']} overall {100 * task['error']:.1f} %"
    )


def _headline(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry of the task's headline metric."""
    entry: Mapping[str, Any] = task["metrics"][task["headline"]]
    return entry


def difference_sentence(task: Mapping[str, Any], tests: int = 1) -> str:
    """The difference in the headline metric, with its p-value and the power of the test.

    Args:
        tests: how many tasks and runs were compared, for which p is adjusted.
    """
    entry = _headline(task)
    sentence = _change_sentence(entry)
    if entry["p"] is None:
        return sentence
    family = f", {probability(entry['p_holm'])} after Holm over {tests} tests" if tests > 1 else ""
    least = entry["smallest_detectable"]
    power = f" A true difference of {number(entry['unit'], least)} would be found 4 times in 5." if least else ""
    return f"{sentence} p {_equals(entry['p'])} ({entry['test']}){family}.{power}"


def _equals(p: float | None) -> str:
    shown = probability(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _change_sentence(entry: Mapping[str, Any]) -> str:
    title, unit = entry["title"], entry["unit"]
    difference = f"{number(unit, entry['difference'], sign=True)} ({between(unit, entry, sign=True)})"
    if entry["ci_low"] is None:
        return f"{title} changed by {difference}; too few images for an interval."
    if entry["ci_low"] > 0:
        return f"{title} rose by {difference.lstrip('+')}; the interval excludes zero."
    if entry["ci_high"] < 0:
        return f"{title} fell by {difference.lstrip('−')}; the interval excludes zero."
    return f"{title} changed by {difference}; the interval includes zero, so no difference is shown."


def finding_rows(task: Mapping[str, Any]) -> list[list[str]]:
    """Header and one row a metric: the score, and those of the parts and of the corrected rows that exist.

    Empty if there is nothing beside the score.
    """
    overlap, corrected = task.get("contamination"), task.get("corrected")
    columns: list[tuple[str, Mapping[str, Any]]] = [(_heading("all", task), task["metrics"])]
    if overlap and overlap["touched"]["n"]:
        columns += [(_heading(name, overlap[name]), overlap[name]) for name in ("clean", "touched")]
        columns.append(("touched − clean", overlap["difference"]))
    if corrected and corrected["metrics"]:
        columns.append((_heading("corrected", corrected), corrected["metrics"]))
    if len(columns) == 1:
        return []
    rows = [["metric", *(name for name, _ in columns)]]
    for metric, facts in task["metrics"].items():
        cells, unit = [], facts["unit"]
        for name, entries in columns:
            sign = "−" in name
            shown = number(unit, entries[metric]["value"], sign=sign)
            cells.append(f"{shown} ({between(unit, entries[metric], sign=sign)})")
        rows.append([facts["title"], *cells])
    return rows


def _heading(name: str, part: Mapping[str, Any]) -> str:
    """``clean (9,304 rows, 98.2 % answered)``."""
    answered = "" if part["coverage"] is None else f", {share(part['coverage'])} answered"
    return f"{name} ({part['n']:,} rows{answered})"
