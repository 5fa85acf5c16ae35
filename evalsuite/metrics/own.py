"""Metrics of your own: a function in a Python file that a task names, or a module of Hugging Face's ``evaluate``.

``metric: my_metric.py:score`` calls ``score(prediction, references, row)`` for every row with an answer and takes the
mean of the numbers that it returns. A function whose first parameter is called ``predictions`` is called once,
``score(predictions, references, rows)`` with three lists, and returns a list of numbers. ``row`` is a dictionary:

    id, raw, choices, slices, facts, group, repeat, confidence, image_files

``metric: evaluate:NAME`` loads a module by name or, as ``evaluate:./FOLDER``, by its path.

Both run code, so they only do within ``allowing_code(True)``, which a run opens if its recipe says
``allow_code: true``. Files are named relative to the task file and lie in its folder or below.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from evalsuite.metrics.base import RIGHT_FROM, Answers, Metric, MetricOptions, Quantity, Scores, mean_scores
from evalsuite.statistics import Floats
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file

_FILE = re.compile(r"(.+\.py):([A-Za-z_]\w*)")
_MODULE = "evaluate:"
_MOST_BYTES = 1_000_000
_ALLOWED: ContextVar[bool] = ContextVar("allow_code", default=False)


@contextmanager
def allowing_code(allowed: bool) -> Iterator[None]:
    """Whether code that a task names may run meanwhile."""
    token = _ALLOWED.set(allowed or _ALLOWED.get())
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def is_own(name: str) -> bool:
    """Whether a metric's name is that of a function in a file, or of a module of ``evaluate``."""
    return name.startswith(_MODULE) or _FILE.fullmatch(name) is not None


def own_metric(name: str, options: MetricOptions) -> Metric:
    """The metric of that name; its code is not run before rows are scored."""
    score = _score_module if name.startswith(_MODULE) else _score_file
    share = options.unit == "%"
    title = name.removeprefix(_MODULE).rpartition("/")[2].rpartition(":")[2]
    number = Quantity(title=title, unit=options.unit, top=1.0 if share else None,
                      right_from=RIGHT_FROM if share else None, mean_of_rows=False)  # fmt: skip
    return Metric(
        name=name,
        about="A metric of your own.",
        numbers={"": number},
        score=lambda answers, given: {"": score(name, answers, given)},
        options=("unit", "arguments", "result") if name.startswith(_MODULE) else ("unit",),
        whole_set=True,
    )


def located(name: str, folder: Path) -> str:
    """The name with the absolute path of its file or folder, which a task in ``folder`` gives relative to itself.

    Raises:
        UserError: there is no such file, or it lies outside ``folder``.
    """
    found = _FILE.fullmatch(name)
    given = found[1] if found else name.removeprefix(_MODULE)
    if found is None and not given.startswith("."):
        return name
    path, root = (folder / given).resolve(), folder.resolve()
    if not path.is_relative_to(root):
        raise UserError(f"metric {name}: lies outside the folder of its task file, {root}; copy it there")
    if not path.exists():
        raise UserError(f"metric {name}: {path}: no such file; the path is relative to the task file")
    return f"{path}:{found[2]}" if found else f"{_MODULE}{path}"


def code_digest(name: str) -> str | None:
    """Digest of the Python files behind a metric; None for a module that is loaded by name.

    Raises:
        UserError: the file is missing.
    """
    found = _FILE.fullmatch(name)
    path = Path(found[1] if found else name.removeprefix(_MODULE))
    if found is None and not path.is_absolute():
        return None
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    try:
        return digest_of({str(file): sha256_file(file) for file in files})
    except OSError as error:
        raise UserError(f"metric {name}: {path}: cannot be read ({error.strerror})") from error


def check_loads(name: str) -> None:
    """Load a metric's code without scoring anything.

    Raises:
        UserError: it may not run, or it cannot be loaded.
    """
    _check_allowed(name)
    if found := _FILE.fullmatch(name):
        _loaded(Path(found[1]), found[2])
    else:
        _loaded_module(name)


def _check_allowed(name: str) -> None:
    if not _ALLOWED.get():
        raise UserError(
            f"metric {name}: is code, which only runs if you allow it: `allow_code: true` in the recipe of a run, "
            "`--allow-code` for other commands"
        )


# ---- a function in a file ----------------------------------------------------------------------------


def _score_file(name: str, answers: Answers, options: MetricOptions) -> Scores:
    _check_allowed(name)
    found = _FILE.fullmatch(name)
    assert found is not None
    path, function = Path(found[1]), found[2]
    score = _loaded(path, function)
    asked = [row for row, text in enumerate(answers.texts) if text is not None]
    first = next(iter(inspect.signature(score).parameters), "")
    of_all = first == "predictions"
    values = np.zeros(len(answers.texts))
    if of_all:
        columns = ([answers.texts[row] for row in asked], [list(answers.references[row]) for row in asked],
                   [_row(answers, row) for row in asked])  # fmt: skip
        given = _called(path, function, "", score, *columns)
        if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str) or len(given) != len(asked):
            raise UserError(f"{path}: {function}() must return a list with one number for each of {len(asked):,} rows")
    for place, row in enumerate(asked):
        where = f", row {answers.ids[row]}"
        number = (
            given[place]
            if of_all
            else _called(path, function, where, score, answers.texts[row], list(answers.references[row]),
                         _row(answers, row))
        )  # fmt: skip
        values[row] = _as_number(number, f"{path}: {function}(){where}")
    return mean_scores(values, f"{path.name}: mean of {function}(), 0 without an answer")


def _loaded(path: Path, function: str) -> Callable[..., Any]:
    """The function, from a module of its own that leaves no files behind."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path}: is larger than {_MOST_BYTES:,} bytes, which no metric needs")
        source = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    module = ModuleType(f"winnow_metric_{digest_of(str(path))[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    _called(path, "the file", "", exec, compile_source(source, path), module.__dict__)
    found = getattr(module, function, None)
    if not callable(found):
        raise UserError(f"{path}: has no function {function!r}")
    result: Callable[..., Any] = found
    return result


def compile_source(source: bytes, path: Path) -> Any:
    """Byte code of a file.

    Raises:
        UserError: it is no valid Python.
    """
    try:
        return compile(source, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise UserError(f"{path}{line}: is no valid Python ({error})") from error


def _called(path: Path, function: str, where: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of code that is not ours; its exceptions become one sentence with the line they came from."""
    try:
        return call(*arguments)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # anything can go wrong in code of others
        line = next((frame.lineno for frame in _frames(error) if frame.filename == str(path)), None)
        place = f"{path}:{line}" if line else str(path)
        raise UserError(f"{place}: {function} failed{where}: {type(error).__name__}: {error}") from error


def _frames(error: BaseException) -> list[Any]:
    import traceback

    return list(reversed(traceback.extract_tb(error.__traceback__)))


def _row(answers: Answers, row: int) -> dict[str, Any]:
    columns = {
        "id": answers.ids, "raw": answers.raws, "choices": answers.choices, "slices": answers.slices,
        "facts": answers.facts, "group": answers.groups, "repeat": answers.repeats,
        "confidence": answers.confidences, "image_files": answers.image_files,
    }  # fmt: skip
    return {name: values[row] if len(values) else None for name, values in columns.items()}


def _as_number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, str) or not math.isfinite(number):
        raise UserError(f"{where}: returned {value!r}; return a finite number, such as 1.0 or 0")
    return number


# ---- a module of evaluate ----------------------------------------------------------------------------


def _score_module(name: str, answers: Answers, options: MetricOptions) -> Scores:
    _check_allowed(name)
    module, path = _loaded_module(name), name.removeprefix(_MODULE)
    listed, note = _takes_lists(module), ""
    if not listed:
        several = sum(len(given) > 1 for given in answers.references)
        note = f"; compared with the first reference only ({several:,} rows have more)" if several else ""
    given = {
        "predictions": [text or "" for text in answers.texts],
        "references": [list(one) if listed else next(iter(one), "") for one in answers.references],
    }
    try:
        found = module.compute(**given, **options.arguments)
    except Exception as error:
        raise UserError(f"metric {name}: compute() failed: {type(error).__name__}: {error}") from error
    key, value, each = _result(name, found, options.result, len(answers.texts))
    if each is None:
        variant = f"{key} of evaluate's {path}, for all rows together, so without an interval{note}"
        return _of_all_rows(_as_number(value, f"metric {name}"), len(answers.texts), variant)
    values = [  # silence never pays, whatever the module gives for it
        0.0 if text is None else _as_number(one, f"metric {name}, row {key}")
        for key, text, one in zip(answers.ids, answers.texts, each, strict=True)
    ]
    return mean_scores(values, f"mean of {key} of evaluate's {path}{note}")


def _loaded_module(name: str) -> Any:
    import evaluate

    try:
        return evaluate.load(name.removeprefix(_MODULE))
    except Exception as error:  # a download, or code of others
        offline = (
            " offline, where only a cached module or a path will do" if evaluate.config.HF_EVALUATE_OFFLINE else ""
        )
        raise UserError(f"metric {name}: cannot be loaded{offline}: {type(error).__name__}: {error}") from error


def _takes_lists(module: Any) -> bool:
    """Whether the module takes a list of references for each prediction."""
    kinds = module.features if isinstance(module.features, list) else [module.features]
    return any(type(kind["references"]).__name__ in ("Sequence", "List", "LargeList", "list") for kind in kinds)


def _result(name: str, found: Any, wanted: str | None, rows: int) -> tuple[str, Any, Sequence[Any] | None]:
    """Key and value of the result, with one number for each row where there is a list of them."""
    if not isinstance(found, dict) or not found:
        raise UserError(f"metric {name}: compute() gave no result")
    key = wanted or next(iter(found))
    if key not in found:
        raise UserError(f"metric {name}: its result has no {key!r}; `result:` can be {', '.join(map(str, found))}")
    value = found[key]
    listed = value if isinstance(value, list | np.ndarray) else None if wanted else found.get("per_sample")
    each: Sequence[Any] | None = None if listed is None else list(listed)
    if each is not None and (len(each) != rows or any(isinstance(one, list) for one in each)):
        raise UserError(f"metric {name}: {key} is no number and no list with one number for each of {rows:,} rows")
    return str(key), value, each


def _of_all_rows(value: float, rows: int, variant: str) -> Scores:
    """A number that is known for all rows together only: of any other set of rows it is NaN, so no interval is made.

    Each row has a random weight; only the whole set has their sum.
    """
    weights = np.random.default_rng(0).random(rows)
    total = float(weights.sum())

    def estimate(sums: Floats) -> Floats:
        whole = np.isclose(sums[:, 0], total, rtol=1e-9, atol=0.0)
        return np.where(whole, sums[:, 1] / total, np.nan)

    sums = np.stack([weights, weights * value], axis=1)
    return Scores(per_row=np.full(rows, np.nan), sums=sums, estimate=estimate, variant=variant)
