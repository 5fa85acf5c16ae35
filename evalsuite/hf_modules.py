"""The metrics as Hugging Face ``evaluate`` modules: ``evaluate.load(evalsuite.module_path("cider"))``.

``evaluate`` loads a module from a Python file and copies that file, so ``module_path`` writes one: four lines
that name the metric. Everything else is read from the ``HubModule`` entries of ``evalsuite.metrics``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalsuite.metrics.base import HubModule

_FOLDER = "winnow_metrics"
_TEMPLATE = '''"""{about}"""
import evaluate
from evalsuite.hf_modules import module_class

Module = module_class("{name}")
'''


def module_path(metric: str) -> str:
    """Path of a metric as a Hugging Face ``evaluate`` module: ``evaluate.load(module_path("cider"))``.

    Loading needs no network. The file lies in evaluate's own cache of modules (``HF_MODULES_CACHE``), under
    a digest of its content.

    Raises:
        ValueError: there is no such metric; the message lists those there are.
    """
    from pathlib import Path

    import evaluate

    from winnow.files import digest_of, write_text

    modules = hub_modules()
    if metric not in modules:
        raise ValueError(f"no metric {metric!r}; known: {', '.join(sorted(modules))}")
    text = _TEMPLATE.format(name=metric, about=modules[metric].about.replace('"', "'"))
    path = Path(evaluate.config.HF_MODULES_CACHE) / _FOLDER / digest_of(text)[:16] / f"{metric}.py"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return str(path)


def hub_modules() -> dict[str, HubModule]:
    """Every module by name."""
    from evalsuite.metrics import METRICS

    return {module.name: module for metric in METRICS.values() for module in metric.modules}


def module_class(name: str) -> type:
    """The class of ``evaluate.Metric`` that computes a metric."""
    import evaluate

    module = hub_modules()[name]

    class Module(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
        def _info(self) -> Any:
            return _info(module)

        def _compute(self, **given: Any) -> dict[str, Any]:
            columns = [given.pop(column) for column in module.columns]
            return _compute(module, columns, given)

    Module.__doc__ = module.about
    return Module


def _info(module: HubModule) -> Any:
    import datasets
    import evaluate

    text = datasets.Value("string")
    columns = {name: datasets.Sequence(text) if name in module.lists else text for name in module.columns}
    return evaluate.MetricInfo(
        description=module.about,
        citation=module.citation,
        inputs_description=describe_inputs(module),
        features=datasets.Features(columns),
        reference_urls=[module.url],
    )


def describe_inputs(module: HubModule) -> str:
    """Arguments, result and a doctest of a module."""
    arguments = "".join(f"    {name}: {about}\n" for name, about in {**module.columns, **module.options}.items())
    *statements, result = module.example.split("\n")
    example = "".join(f"    >>> {statement}\n" for statement in statements)
    load = f'    >>> metric = evaluate.load(evalsuite.module_path("{module.name}"))\n'
    return f"\nArgs:\n{arguments}Returns:\n    {module.gives}\n\nExamples:\n{load}{example}    {result}\n"


def _compute(module: HubModule, columns: list[list[Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    from dataclasses import asdict

    if not module.whole_set:
        scores = [module.score(*row, **options) for row in zip(*columns, strict=True)]
        return {module.name: sum(scores) / len(scores), "per_sample": scores}
    by_row = [{str(number): value for number, value in enumerate(column)} for column in columns]
    found = asdict(module.score(*by_row, **options))
    found["per_sample"] = list(found["per_sample"].values())
    corpus = found.pop("corpus", None)
    if isinstance(corpus, list):
        found = {**{f"{module.name}_{order}": score for order, score in enumerate(corpus, start=1)}, **found}
    elif corpus is not None:
        found = {module.name: corpus, **found}
    return found
