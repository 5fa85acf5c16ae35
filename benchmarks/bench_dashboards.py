"""Server time of the dashboard's queries and pages at a million predictions and a million curated rows.

    python -m benchmarks.bench_dashboards [--rows 1000000] [--data FOLDER]

Writes the rows (reused when FOLDER holds them), then prints milliseconds of wall clock and of
processor per query, and per page a whole run of its script: cold (first call of a server that has
its libraries loaded) and warm (best of the following). At last, what each further session adds to
the memory of a real server that shows every page.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from streamlit.logger import set_log_level

from benchmarks.million import write_folders
from dashboards.components import charts, provenance, review  # noqa: F401 - libraries that a server has loaded
from dashboards.data.answers import answers_at, answers_of_all, count_outcomes, filter_values, matching_rows
from dashboards.data.catalog import scan
from dashboards.data.comparison import flips, rank_slices
from dashboards.data.curated import fired_rules, funnel, row_decision
from dashboards.data.duplicates import matches_of
from dashboards.data.filters import FilterSpec, View
from dashboards.data.neighbors import nearest
from dashboards.data.predictions import pair, row_index
from dashboards.data.scores import changes, headline, scores
from dashboards.data.thresholds import load_facts, preview, thresholds
from dashboards.data.training import highest_losses, row_losses
from dashboards.settings import DATA_VARIABLE
from tests.dashboards.browser import chromium, chromium_path, serving, settled

_PAGES: tuple[tuple[str, dict[str, str]], ...] = (
    ("failures", {}), ("sample", {}), ("slices", {"slices_task": "vqa"}), ("compare", {"compare_task": "vqa"}),
    ("training", {}), ("curation", {"set": "signals"}), ("thresholds", {"set": "signals"}),
    ("duplicates", {"set": "big"}), ("corrections", {}),
)  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    set_log_level("error")  # it warns at every query that no server runs
    with tempfile.TemporaryDirectory() as temporary:
        root = options.data or Path(temporary)
        if not (root / "curated").exists():
            write_folders(root, options.rows)
        print(
            f"{options.rows:,} predictions in each of two runs, {options.rows:,} curated rows; milliseconds\n"
            f"{'':<48}{'cold':>8}{'cpu':>8}{'warm':>8}{'cpu':>8}"
        )
        bench_queries(root)
        bench_pages(root)
        print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
        bench_sessions(root)


def bench_queries(root: Path) -> None:
    """Time every query that the pages make without its cache; what queries share is timed as one of its own."""
    catalog = scan(root)
    run, base = catalog.find("evals", "tuned"), catalog.find("evals", "base")
    curated, signals = catalog.find("curated", "big"), catalog.find("curated", "signals")
    trained = catalog.find("runs", "big")
    assert run and base and curated and signals and trained
    wrong, broken = (View(FilterSpec(outcome=outcome), run, base) for outcome in ("Wrong", "Broken"))
    searched = View(FilterSpec(text="NUMBER 12", outcome="All"), run, base)
    near = View(FilterSpec(near=("plural", "containment")), run, base)
    threshold = thresholds(signals)[0]
    rows = matching_rows(wrong)
    deep = tuple(int(row) for row in rows[len(rows) // 2 :][:24])
    sample = answers_at(run, None, deep[:1])[0]
    curated_key = hashlib.md5(b"7", usedforsecurity=False).hexdigest() * 2
    queries: dict[str, Callable[[], Any]] = {
        "catalog": lambda: scan(root),
        "rows of one run as numbers": lambda: uncached(row_index)(run),
        "two runs joined": lambda: uncached(pair)(run, base),
        "decisions as numbers": lambda: uncached(fired_rules)(signals),
        "losses as numbers": lambda: uncached(row_losses)(trained),
        "signals that a rule asks for": lambda: uncached(load_facts)(signals, threshold.rule),
        "overview: counts per outcome, two runs": lambda: uncached(count_outcomes)(wrong),
        "overview: paired differences with intervals": lambda: uncached(changes)(
            run, base, tuple(headline(scores(run)))
        ),
        "overview, curation: funnel": lambda: uncached(funnel)(signals),
        "failures: values of the filters": lambda: uncached(filter_values)(run),
        "failures: wrong, sorted, all ids": lambda: uncached(matching_rows)(wrong),
        "failures: broken, sorted": lambda: uncached(matching_rows)(broken),
        "failures: substring in question and answers": lambda: uncached(matching_rows)(searched),
        "failures: fixable by scorer": lambda: uncached(matching_rows)(near),
        "failures: 24 rows in the middle": lambda: uncached(answers_at)(run, base, deep),
        "sample: answers of all runs": lambda: uncached(answers_of_all)((run, base), sample.sample_id),
        "sample: decision about a training row": lambda: row_decision(curated, "vqa/train/500000"),
        "sample: nearest training images": lambda: uncached(nearest)(
            curated, curated_key, "What is shape number 3?", ("no",), of_training=True
        ),
        "sample: leaks and copies": lambda: uncached(matches_of)(curated, sample.sample_id, sample.image_keys),
        "slices: ranking": lambda: uncached(rank_slices)(run, "vqa"),
        "compare: flips, differences per slice": lambda: uncached(flips)(run, base, "vqa"),
        "thresholds: moved": lambda: uncached(preview)(signals, threshold, threshold.number + 1),
        "training: 24 highest losses": lambda: uncached(highest_losses)(trained, "", 480, 24),
    }
    for name, query in queries.items():
        _print(name, _times(query))


def uncached(query: Callable[..., Any]) -> Callable[..., Any]:
    """The query itself: what it asks other queries for still comes from their caches."""
    return query.__wrapped__  # type: ignore[attr-defined, no-any-return]


def bench_pages(root: Path) -> None:
    """Time whole runs of the pages' scripts; warm ones answer from the caches."""
    from streamlit.testing.v1 import AppTest

    os.environ[DATA_VARIABLE] = str(root)
    main_script = Path(__file__).parents[1] / "dashboards" / "app.py"
    app = AppTest.from_file(str(main_script), default_timeout=300)
    app.query_params["id"] = "vqa/test/0500001"

    def run() -> None:
        app.run()
        assert not app.exception, app.exception

    _print("whole page: overview", _times(run))
    for page, parameters in _PAGES:
        for name, value in parameters.items():
            app.query_params[name] = value
        app.switch_page(f"app_pages/{page}.py")
        _print(f"whole page: {page}", _times(run))


def bench_sessions(root: Path, sessions: int = 3) -> None:
    """Memory of a server (proportional set size) with one session that has seen every page, and with more of them."""
    if chromium_path() is None:
        print("memory per session: not measured, no Chromium here")
        return
    pages = {"": {}, **dict(_PAGES)}
    with serving(root) as address, chromium() as browser:
        port, sizes = int(address.rpartition(":")[2]), []
        for _ in range(sessions):
            context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=address)
            tab = context.new_page()
            for page, parameters in pages.items():
                tab.goto(f"/{page}?{urlencode({'id': 'vqa/test/0500001', **parameters})}")
                settled(tab)
            sizes.append(_memory(port))
    grown = [later - earlier for earlier, later in itertools.pairwise(sizes)]
    print(
        f"memory of a server after one session saw all {len(pages)} pages: {sizes[0]:,.0f} MB;"
        f" each further session that sees them adds {', '.join(f'{size:,.0f}' for size in grown)} MB"
    )


def _memory(port: int) -> float:
    """Proportional set size, in MB, of the process that listens on ``port``."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            if f"--server.port={port}".encode() in command:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
        except OSError:  # the process is gone, or not ours
            continue
    raise RuntimeError(f"no process listens on port {port}")


def _times(call: Callable[[], Any], warm: int = 4) -> list[tuple[float, float]]:
    """(wall clock, processor) milliseconds of each call."""
    found = []
    for _ in range(warm + 1):
        started, busy = time.perf_counter(), time.process_time()
        call()
        found.append((1000 * (time.perf_counter() - started), 1000 * (time.process_time() - busy)))
    return found


def _print(name: str, times: list[tuple[float, float]]) -> None:
    (cold, cold_cpu), (warm, warm_cpu) = times[0], min(times[1:])
    print(f"{name:<48}{cold:>8.0f}{cold_cpu:>8.0f}{warm:>8.0f}{warm_cpu:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
