"""What the commands of the guard do and print."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from winnow.errors import UserError
from winnow.files import write_json

if TYPE_CHECKING:
    from serving.guard.trial.attack import Share
    from serving.guard.trial.overhead import Overhead

MIN_RECALL, MAX_FALSE_ALARMS = 0.95, 0.01


def run_guard(upstream: str, policy: Path | None, host: str, port: int) -> None:
    """Serve a guard until it is ended."""
    with _extra():
        from serving.guard.policy import DEFAULT
        from serving.guard.server import serve
    Console(stderr=True).print(
        f"guard: http://{host}:{port}/v1 before {upstream}, by {policy or DEFAULT}", highlight=False
    )
    serve(upstream, policy or DEFAULT, host, port)


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    """Imports of packages that only the guard needs."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"guard: needs the extra: pip install 'winnow-vlm[guard]' ({error})") from error


def show_key(name: str) -> None:
    """Print a new key and its line of a policy."""
    with _extra():
        from serving.guard.access import new_key
    if not re.fullmatch(r"[\w.@-]{1,64}", name):
        raise UserError(f"{name!r}: a name has 1 to 64 letters, digits, dots, hyphens or at signs")
    key, digest = new_key()
    print(
        f"key: {key}\nIt is shown once. The policy's list `keys:` takes this line:\n"
        f"  - {{name: {name}, sha256: {digest}}}"
    )


def run_test(
    policy_file: Path | None,
    files: Sequence[Path],
    corrections: Path | None,
    log: Path | None,
    *,
    overhead: bool,
    out: Path | None,
) -> None:
    """Attack a policy, print the tables, and fail where a goal is missed.

    Raises:
        UserError: a file does not fit, a server does not start, or a goal is missed.
    """
    with _extra():
        from serving.guard.policy import DEFAULT, load_policy
        from serving.guard.trial import attack
        from serving.guard.trial import overhead as costs
        from serving.guard.trial.cases import SHIPPED, read_cases
        from serving.guard.trial.corrected import corrected_cases
    policy = load_policy(policy_file or DEFAULT)
    cases = read_cases(list(files) or sorted(SHIPPED.glob("*.jsonl")))
    if corrections is not None:
        if log is None:
            raise UserError("--corrections: needs --log, the folder of the log that they are about")
        cases += corrected_cases(corrections, log)
    console = Console()
    if any(case.image for case in cases) and not policy.images.ocr:
        console.print("The policy does not read text in images (images.ocr): such attacks pass.")
    outcomes = attack.attack(cases, policy)
    rows = attack.by_kind(outcomes)
    table = Table("kind", "recall (95% interval)", "false alarms (95% interval)", title=f"{len(cases)} cases")
    for kind, recall, alarms in rows:
        table.add_row(kind, str(recall), str(alarms))
    console.print(table)
    missed = [found for found in outcomes if found.caught != found.case.attack]
    for found in missed:
        console.print(
            f"{'missed' if found.case.attack else 'false alarm'}: {found.case.id}", highlight=False, markup=False
        )
    measured = costs.measure(policy) if overhead else None
    if measured is not None:
        costs_table = Table(
            "added to a request", "requests", "alone, ms", "added median, ms", "added p99, ms", "CPU, ms"
        )
        for each in measured.added:
            costs_table.add_row(
                each.name,
                str(each.requests),
                f"{each.alone:.1f}",
                f"{each.median:.1f}",
                f"{each.p99:.1f}",
                f"{each.cpu:.1f}",
            )
        console.print(costs_table)
        through, alone = measured.throughput
        console.print(
            f"throughput at 16 at a time: {through:.0f}/s through the guard, {alone:.0f}/s alone,"
            f" ratio {through / alone:.2f}"
        )
        console.print(f"streams at a time: {measured.streams} of {costs.STREAMS} arrived whole")
    if out is not None:
        write_json(out, {"policy": str(policy_file or DEFAULT), "cases": [_written(found) for found in outcomes],
                         "overhead": asdict(measured) if measured else None})  # fmt: skip
    if broken := attack.failures(outcomes):
        raise UserError(
            f"guard-test: {len(broken)} requests failed, the first with HTTP {broken[0].status} ({broken[0].case.id})"
        )
    if broken_goals := missed_goals(rows[-2][1], rows[-2][2], measured):
        raise UserError(f"guard-test: {'; '.join(broken_goals)}")


def missed_goals(recall: Share, alarms: Share, measured: Overhead | None) -> list[str]:
    """The goals of ``docs/howto/guard.md`` that were missed, each with what was found."""
    from serving.guard.trial.overhead import STREAMS

    missed = []
    if recall.hits < MIN_RECALL * recall.of:
        missed.append(f"recall {recall} of what rules can see is below {MIN_RECALL}")
    if alarms.hits > MAX_FALSE_ALARMS * alarms.of:
        missed.append(f"false alarms {alarms} are above {MAX_FALSE_ALARMS}")
    if measured is not None:
        missed += [
            f"{each.name} takes {each.median:.1f} ms more, above {each.goal:g}"
            for each in measured.added
            if each.median > each.goal
        ]
        if measured.streams < STREAMS:
            missed.append(f"{STREAMS - measured.streams} of {STREAMS} streams did not arrive whole")
    return missed


def _written(found: object) -> dict[str, object]:
    from serving.guard.trial.attack import Outcome

    assert isinstance(found, Outcome)
    return {"id": found.case.id, "kind": found.case.kind, "attack": found.case.attack, "caught": found.caught,
            "status": found.status, "code": found.code}  # fmt: skip
