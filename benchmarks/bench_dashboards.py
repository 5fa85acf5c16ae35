"""The dashboard at a million predictions and a million curated rows: its queries, lists, pages, and a reviewer's keys.

    python -m benchmarks dashboards [--rows 1000000] [--data FOLDER] [--only keys]

Writes the rows (reused when FOLDER holds them), then prints milliseconds of wall clock and of processor for every
query, every list that can be reviewed and a whole run of every page's script: the first call of a server that has its
libraries loaded, and the best of the following ones. Of a list's rows, 24 at a time, the second figures are the mean
of the following calls, which go on through the list. Then, in headless Chromium, what a reviewer waits for: from a key
that is pressed to the next row's picture on the screen. At last, what each further session adds to the memory of a
real server that shows every page.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import pkgutil
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb
import numpy as np
from PIL import Image
from streamlit.logger import set_log_level

from benchmarks.million import write_folders
from dashboards import app_pages
from dashboards.components import charts, provenance, review  # noqa: F401 - libraries that a server has loaded
from dashboards.data.agreement import SideSpec, panel, side_rows
from dashboards.data.answers import answers_at, answers_of_all, count_outcomes, filter_values, matching_rows, said_to
from dashboards.data.catalog import scan
from dashboards.data.comparison import flips, rank_slices
from dashboards.data.confusion import confusion
from dashboards.data.curated import fired_rules, funnel, row_decision
from dashboards.data.duplicates import matches_of
from dashboards.data.filters import FilterSpec, View
from dashboards.data.predictions import pair, row_index
from dashboards.data.scores import changes, headline, scores
from dashboards.data.thresholds import load_facts, preview, thresholds
from dashboards.data.training import highest_losses, row_losses
from dashboards.find.neighbors import nearest
from dashboards.people import COOKIE
from dashboards.review.entries import Entries
from dashboards.review.queues import LISTS, Queue, entries
from dashboards.review.row import Reader
from dashboards.review.rows import rows_at
from dashboards.settings import DATA_VARIABLE
from tests.dashboards.browser import chromium, chromium_path, serving, settled
from winnow.files import sha256_file, write_json
from winnow.run import MANIFEST

# Parameters of pages that show more with them; all other pages are shown as they open.
_PARAMETERS: dict[str, dict[str, str | list[str]]] = {
    "slices": {"slices_task": "vqa"}, "compare": {"compare_task": "vqa"}, "side_by_side": {"runs": ["tuned", "base"]},
    "curation": {"set": "signals"}, "thresholds": {"set": "signals"}, "duplicates": {"set": "big"},
    "find": {"set": "big"},
}  # fmt: skip
_FIRST = {"run": "tuned", "base": "base", "id": "vqa/test/0500001"}
_PAGES = tuple(module.name for module in pkgutil.iter_modules(app_pages.__path__))
_TWO = ("benchmark a", "benchmark b")  # reviewers who disagree
_DISPUTED = 500  # rows on which they do
_READS = 16  # of the rows of a list, 24 each


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", choices=["keys"], help="leave the other figures out")
    options = parser.parse_args()
    set_log_level("error")  # it warns at every query that no server runs
    with tempfile.TemporaryDirectory() as temporary:
        root = options.data or Path(temporary)
        if not (root / "curated").exists():
            write_folders(root, options.rows)
        if options.only == "keys":
            bench_keys(root)
            return
        print(
            f"{options.rows:,} predictions in each of two runs, {options.rows:,} curated rows; milliseconds\n"
            f"{'':<56}{'first':>8}{'cpu':>8}{'warm':>8}{'cpu':>8}"
        )
        with disputes(root):
            bench_lists(root)
            bench_pages(root)
        bench_queries(root)
        print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
        bench_keys(root)
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
    runs, side = (run, base), SideSpec(("tuned", "base"), "vqa", "Split", order="Least agreement first")
    split = side_rows(runs, side)[:24].tolist()
    asked = tuple((answer.row, answer.task, answer.sample_id) for answer in answers_at(run, None, deep))
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
        "review: another run's answers to 24 rows": lambda: uncached(said_to)(base, asked),
        "side by side: runs joined, answers compared": lambda: uncached(panel)(runs, "vqa"),
        "side by side: split rows, least agreement first": lambda: uncached(side_rows)(runs, side),
        "side by side: 24 rows": lambda: uncached(answers_at)(run, None, tuple(split)),
        "slices: confusion matrix": lambda: uncached(confusion)(run, "vqa"),
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


def lists(root: Path) -> dict[str, Queue]:
    """A queue of every list, the longest one where a list takes parameters."""
    catalog = scan(root)
    signals = catalog.find("curated", "signals")
    assert signals
    moved = thresholds(signals)[0]
    of_run, big, small = [("run", "tuned")], [("set", "big")], [("set", "signals")]
    parameters: dict[str, list[tuple[str, str]]] = {
        "answers": [*of_run, ("base", "base"), ("undecided", "me")],
        "audit": of_run,
        "conflicts": [],
        "duplicates": big,
        "leaks": small,
        "losses": [("training", "big")],
        "nearest": [*big, ("id", "vqa/train/7")],
        "rule": [*big, ("rule", "blurry")],
        "runs": [("runs", "tuned"), ("runs", "base"), ("side_task", "vqa"), ("pattern", "Split")],
        "suspect": small,
        "threshold": [*small, ("threshold", moved.label), ("value", f"{moved.number + 1:g}")],
    }
    # A share of an assignment and a selection are lists that are already there.
    assert parameters.keys() == LISTS.keys() - {"assigned", "selection"}
    return {name: Queue(name, tuple(values)) for name, values in parameters.items()}


def bench_lists(root: Path) -> None:
    """Time every list that can be reviewed, and the rows of each as a reviewer goes through it."""
    catalog = scan(root)
    for name, queue in lists(root).items():

        def listed(queue: Queue = queue) -> Entries:
            return entries(catalog, queue, _TWO[0])

        _print(f"list: {name}", _times(listed))
        found, starts = listed(), itertools.count(0, 24)

        def read(found: Entries = found, starts: itertools.count[int] = starts) -> None:
            start = next(starts) % max(len(found), 1)
            rows_at(catalog, found, range(start, start + 24), Reader("", [], "base"))

        if len(found):
            first, *others = _times(read, _READS)
            _print(f"list: {name}, 24 of its {len(found):,} rows", [first, tuple(np.mean(others, axis=0))])


@contextlib.contextmanager
def disputes(root: Path) -> Iterator[None]:
    """Opposite verdicts of two reviewers on some rows, while it lasts."""
    folder, at = root / "corrections", datetime.now(UTC)
    folder.mkdir(exist_ok=True)
    logs = [folder / f"{name.replace(' ', '-')}.jsonl" for name in _TWO]
    try:
        for log, name, action in zip(logs, _TWO, ("keep", "exclude_from_eval"), strict=True):
            lines = [
                {"correction_id": f"{name}-{number}", "sample_id": f"vqa/test/{number * 1_999:07d}", "reviewer": name,
                 "content_hash": "", "action": action, "run": "tuned", "at": at.isoformat()}
                for number in range(_DISPUTED)
            ]  # fmt: skip
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        yield
    finally:
        for log in logs:
            log.unlink(missing_ok=True)


def bench_pages(root: Path) -> None:
    """Time whole runs of the pages' scripts; warm ones answer from the caches."""
    from streamlit.testing.v1 import AppTest

    os.environ[DATA_VARIABLE] = str(root)
    main_script = Path(__file__).parents[1] / "dashboards" / "app.py"
    app = AppTest.from_file(str(main_script), default_timeout=300)

    def run() -> None:
        app.run()
        assert not app.exception, app.exception

    app.run()
    for page in _PAGES:
        app.query_params.clear()
        for name, value in (_FIRST | _PARAMETERS.get(page, {})).items():
            app.query_params[name] = value
        app.switch_page(f"app_pages/{page}.py")
        _print(f"whole page: {page}", _times(run))


_PICTURES = 200  # different ones; the next row never shows the same
_KEYS, _PAUSE = 100, 150  # keys, milliseconds between them
_REVIEWER = "benchmark"

# For each key: from the event to the frame after the one in which its row's picture is there, whole. ``ids`` are the
# rows in order, the one on the screen first; a picture's address names its row.
_WATCH = """(ids) => {
  const places = new Map(ids.map((id, place) => [id, place]));
  const inside = (root) =>
    [...root.querySelectorAll("*")].flatMap((e) => [e, ...(e.shadowRoot ? inside(e.shadowRoot) : [])]);
  const panel = inside(document).find((e) => e.matches(".panel"));
  const shown = () => [...panel.querySelectorAll(".picture img:not(.tile)")].find((e) => e.offsetWidth > 50);
  const placeOf = (image) => places.get(new URL(image.src).searchParams.get("id")) ?? -1;
  window.keyTimes = [];
  window.addEventListener("keydown", (event) => {
    const wanted = window.keyTimes.length + 1, from = event.timeStamp, entry = { key: event.key, took: null };
    window.keyTimes.push(entry);
    const look = () => {
      const image = shown();
      if (image && placeOf(image) >= wanted && image.complete && image.naturalWidth > 0)
        requestAnimationFrame(() => (entry.took = performance.now() - from));
      else if (performance.now() - from < 5000) requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, { capture: true });
}"""
_ROWS = """async ([view, start]) => {
  const url = new URL("review/rows", document.baseURI);
  for (const [name, value] of Object.entries({ view, start, count: 48 })) url.searchParams.set(name, value);
  return (await (await fetch(url)).json()).rows.map((row) => row.sample_id);
}"""


def bench_keys(root: Path) -> None:
    """Time from a key to the next row's picture, wrong answers of a million, the worst first, as a reviewer types.

    First half J, then half verdicts, each of which goes on to the next row by itself.
    """
    if chromium_path() is None:
        print("key to next picture: not measured, no Chromium here")
        return
    write_pictures(root)
    view = urlencode({"run": "pictures", "base": "base"})
    try:
        with serving(root) as address, chromium() as browser:
            context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=address)
            context.add_cookies([{"name": COOKIE, "value": _REVIEWER, "url": address}])
            tab = context.new_page()
            tab.goto(f"/sample?{urlencode({'view': view})}")
            settled(tab)
            tab.wait_for_timeout(8000)  # a reviewer looks at the first row
            ids = [key for start in range(0, _KEYS + 48, 48) for key in tab.evaluate(_ROWS, [view, start])]
            tab.evaluate(_WATCH, ids)
            for number in range(_KEYS):
                started = time.perf_counter()
                tab.keyboard.press("j" if number < _KEYS // 2 else "g")
                tab.wait_for_timeout(max(0.0, _PAUSE - 1000 * (time.perf_counter() - started)))
            tab.wait_for_timeout(5000)
            times = tab.evaluate("window.keyTimes")
    finally:
        for log in (root / "corrections").glob(f"{_REVIEWER}-*.jsonl"):
            log.unlink()
    load = os.getloadavg()[0]
    print(f"\nkey to next picture, {_KEYS} keys at {_PAUSE} ms, load average {load:.1f}; milliseconds")
    print(f"{'':<48}{'median':>8}{'95%':>8}{'missed':>8}")
    for name, keys in (("J", "j"), ("a verdict, which goes on by itself", "g"), ("both", "jg")):
        took = [entry["took"] for entry in times if entry["key"] in keys]
        there = [value for value in took if value is not None]
        shown = [f"{np.quantile(there, share):.0f}" if there else "-" for share in (0.5, 0.95)]
        print(f"{name:<48}{shown[0]:>8}{shown[1]:>8}{len(took) - len(there):>8}", flush=True)


def write_pictures(root: Path) -> None:
    """The evaluation ``pictures``: the rows of ``tuned`` about pictures that are there, each another than the last."""
    folder = root / "evals" / "pictures"
    if (folder / MANIFEST).is_file():
        return
    (folder / "images").mkdir(parents=True, exist_ok=True)
    chance, keys = np.random.default_rng(0), []
    for number in range(_PICTURES):
        coarse = Image.fromarray(chance.integers(0, 255, (30, 40, 3), dtype=np.uint8))
        path = folder / "images" / f"{number}.jpg"
        coarse.resize((1600, 1200), Image.Resampling.BICUBIC).save(path, quality=90)
        keys.append(sha256_file(path))
    source = root / "evals" / "tuned"
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            "CREATE TABLE pictures AS SELECT unnest(?) AS key, unnest(?) AS number", [keys, list(range(_PICTURES))]
        )
        connection.execute(
            f"""COPY (
                SELECT rows.* EXCLUDE (picture)
                       REPLACE ([key] AS image_keys, ['images/' || picture || '.jpg'] AS images)
                FROM (SELECT *, (hash(sample_id) % {_PICTURES})::INTEGER AS picture
                      FROM read_parquet('{source / "predictions.parquet"}')) AS rows
                JOIN pictures ON number = picture
            ) TO '{folder / "predictions.parquet"}' (FORMAT parquet, ROW_GROUP_SIZE 65536)"""
        )
    (folder / "scores.json").write_text((source / "scores.json").read_text())
    manifest = json.loads((source / MANIFEST).read_text())
    write_json(folder / MANIFEST, {**manifest, "image_root": dict.fromkeys(("vqa", "captions"), str(folder))})


def bench_sessions(root: Path, sessions: int = 3) -> None:
    """Memory of a server (proportional set size) with one session that has seen every page, and with more of them."""
    if chromium_path() is None:
        print("memory per session: not measured, no Chromium here")
        return
    with serving(root) as address, chromium() as browser:
        port, sizes = int(address.rpartition(":")[2]), []
        for _ in range(sessions):
            context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=address)
            tab = context.new_page()
            for page in _PAGES:
                asked = urlencode(_FIRST | _PARAMETERS.get(page, {}), doseq=True)
                tab.goto(f"/{'' if page == 'overview' else page}?{asked}")
                settled(tab)
            sizes.append(_memory(port))
    grown = [later - earlier for earlier, later in itertools.pairwise(sizes)]
    print(
        f"memory of a server after one session saw all {len(_PAGES)} pages: {sizes[0]:,.0f} MB;"
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
    print(f"{name:<56}{cold:>8.0f}{cold_cpu:>8.0f}{warm:>8.0f}{warm_cpu:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
