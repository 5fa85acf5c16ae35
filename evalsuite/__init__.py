"""Evaluation of vision-language models: tasks, metrics, backends, statistics, reports."""

from pathlib import Path

_MODULES = Path(__file__).with_name("modules")


def module_path(metric: str) -> str:
    """Path of a metric as a Hugging Face ``evaluate`` module: ``evaluate.load(module_path("cider"))``.

    Loading needs no network.

    Raises:
        ValueError: there is no such metric; the message lists those there are.
    """
    path = _MODULES / f"{metric}.py"
    known = sorted(file.stem for file in _MODULES.glob("[a-z]*.py"))
    if metric not in known:
        raise ValueError(f"no metric {metric!r}; known: {', '.join(known)}")
    return str(path)
