"""Pages that are written from the code when the site is built: a hook of MkDocs (`mkdocs.yml`).

Commands come from the console scripts, recipes from their pydantic models, and signals, layouts, tasks and
metrics from the tables that the product itself reads. Nothing here is committed, so nothing can go stale.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tomllib
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import nbformat
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic import BaseModel

if typing.TYPE_CHECKING:
    from evalsuite.tasks.spec import TaskSpec

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO))  # the code beside the pages, not an installed one
RESULTS = "studies/demo/results"
NOTEBOOKS = ("curate_a_folder", "failures")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and what lies outside of docs/: plots, the changelog, the house rules."""
    for path, text in pages():
        files.append(File.generated(config, path, content=text))
    for plot in sorted((REPO / RESULTS).glob("*.png")):
        files.append(File.generated(config, f"results/{plot.name}", abs_src_path=str(plot)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links that leave docs/ to where the files are in the site."""
    if page.file.src_uri == "proof.md":
        return markdown.replace(f"../{RESULTS}/", "results/")
    return markdown


def pages() -> Iterator[tuple[str, str]]:
    """Path below docs/ and Markdown of every generated page."""
    for name, command in commands().items():
        yield f"reference/cli/{name}.md", command_page(name, command)
    yield from recipe_pages()
    yield "reference/signals.md", signals_page()
    yield "reference/layouts.md", layouts_page()
    yield "reference/tasks.md", tasks_page()
    yield "reference/metrics.md", metrics_page()
    for name in NOTEBOOKS:
        yield f"notebooks/{name}.md", notebook_page(REPO / f"docs/notebooks/{name}.ipynb")
    yield "changelog.md", (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    yield "contributing.md", (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("](docs/", "](")


# ---- Markdown ----------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; line breaks and bars in cells are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell_text(cell) for cell in line) + " |" for line in lines)


def cell_text(text: str) -> str:
    """Text that stays within its cell."""
    return " ".join(text.split()).replace("|", "\\|")


def as_markdown(docstring: str) -> str:
    """A docstring with reStructuredText's ``code`` as Markdown, and ``<`` kept from being read as HTML."""
    text = re.sub(r"``(.+?)``", r"`\1`", inspect.cleandoc(docstring), flags=re.S)
    return re.sub(r"(`[^`]*`)|<", lambda found: found.group(1) or "&lt;", text)


# ---- commands ----------------------------------------------------------------------------------


def commands() -> dict[str, click.Command]:
    """Every console script of pyproject.toml with its command."""
    scripts = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    found = {}
    for name, target in scripts.items():
        module = importlib.import_module(target.partition(":")[0])
        found[name] = typer.main.get_command(module.app)
    return found


def command_page(name: str, command: click.Command) -> str:
    """A console script and its subcommands: what each does, how it is called, its options."""
    parts = [f"# `{name}`", *_command(name, command, click.Context(command, info_name=name))]
    for path, sub, context in _below(name, command):
        parts += [f"## `{path}`", *_command(path, sub, context)]
    return "\n\n".join(parts) + "\n"


def _below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command, click.Context]]:
    parent = click.Context(command, info_name=path)
    for name, sub in sorted(getattr(command, "commands", {}).items()):
        if not sub.hidden:
            yield f"{path} {name}", sub, click.Context(sub, info_name=name, parent=parent)
            yield from _below(f"{path} {name}", sub)


def _command(path: str, command: click.Command, context: click.Context) -> Iterator[str]:
    yield _help_text(command.help or "")
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```"
    records = [record for one in command.get_params(context) if (record := one.get_help_record(context))]
    if rows := [(f"`{name}`", text) for name, text in records if "--help" not in name]:
        yield table(["argument or option", "meaning"], ((name, as_markdown(text)) for name, text in rows))


def _help_text(text: str) -> str:
    """Help with its paragraphs; those after click's ``\\b`` keep their lines."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    kept = (f"```text\n{one.lstrip()[1:].strip(chr(10))}\n```" if one.lstrip().startswith("\b") else as_markdown(one)
            for one in paragraphs)  # fmt: skip
    return "\n\n".join(kept)


# ---- recipes -----------------------------------------------------------------------------------


def recipe_pages() -> Iterator[tuple[str, str]]:
    """One page for each kind of YAML file."""
    from curate.recipe import CurateRecipe
    from evalsuite.recipe import EvalRecipe
    from evalsuite.tasks.spec import TaskSpec
    from finetune.recipe import TrainRecipe
    from serving.guard.policy import Policy

    kinds: dict[str, tuple[str, type[BaseModel]]] = {
        "curate": ("Curation recipe", CurateRecipe),
        "finetune": ("Training recipe", TrainRecipe),
        "evalsuite": ("Evaluation recipe", EvalRecipe),
        "task": ("Task file", TaskSpec),
        "guard": ("Guard policy", Policy),
    }
    for name, (title, model) in kinds.items():
        sections = [f"# {title}"]
        above = meanings_of(model)
        for part in models_below(model):
            if part is not model:
                sections.append(f"## `{part.__name__}`")
            sections.append(model_section(part, above))
        yield f"reference/recipes/{name}.md", "\n\n".join(sections) + "\n"


def models_below(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The model, and every model that its fields hold."""
    found = [model]
    for one in found:
        for field in one.model_fields.values():
            found += [held for held in _models_in(field.annotation) if held not in found]
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)


def meanings_of(model: type[BaseModel]) -> dict[str, str]:
    """Key → meaning, from the docstrings of the model and of those that it builds on."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel):
            found |= split_docstring(one.__doc__ or "")[1]
    return found


def model_section(model: type[BaseModel], above: dict[str, str]) -> str:
    """What a model is for, and a table of its keys.

    Args:
        above: meanings of the whole recipe's keys; a part that takes the same key need not repeat it.
    """
    about, _ = split_docstring(model.__doc__ or "")
    meanings = above | meanings_of(model)
    rows = []
    for key, field in model.model_fields.items():
        limits = ", ".join(filter(None, map(_limit, field.metadata)))
        kind = type_text(field.annotation) + (f", {limits}" if limits else "")
        rows.append((f"`{key}`", kind, default_text(field), as_markdown(meanings.get(key, ""))))
    return f"{as_markdown(about)}\n\n{table(['key', 'type', 'default', 'meaning'], rows)}"


def split_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """The text before ``Attributes:``, and the meaning of each attribute that is listed there."""
    before, _, after = inspect.cleandoc(docstring).partition("\nAttributes:\n")
    meanings: dict[str, str] = {}
    for names, text in re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", after, re.M):
        meanings |= dict.fromkeys(names.split(", "), text)
    return before, meanings


def type_text(annotation: Any) -> str:
    """A type as a reader of YAML would write it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = ", ".join(filter(None, map(_limit, arguments[1:])))
        return type_text(arguments[0]) + (f", {limits}" if limits else "")
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[`{annotation.__name__}`](#{annotation.__name__.lower()})"
    if origin in (list, tuple):
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return f"mapping of {type_text(arguments[0])} to {type_text(arguments[1])}"
    if arguments:
        return " or ".join(map(type_text, arguments))
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", Any: "any"}
    return plain.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _limit(metadata: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    given = [
        f"{sign} {getattr(metadata, name)}" for name, sign in signs.items() if getattr(metadata, name, None) is not None
    ]
    return ", ".join(given).replace("<", "&lt;")


def default_text(field: Any) -> str:
    """The default as YAML; a field without one is required."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, list | dict | str) and not value:
        return "empty"
    return "null" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


# ---- signals, layouts, tasks, metrics ----------------------------------------------------------


def signals_page() -> str:
    """Every column that a rule may use, and where each signal's numbers come from."""
    from curate.rules.columns import FORMS, known_columns
    from curate.signals import IMAGE_MODELS

    kinds = {
        "path": "the file", "image": "the image", "score": "CLIP prompt sets and heads", "text": "the conversation",
        "itm": "image–text matching",
        "rows": "the row", "duplicate": "`duplicates:`", "semantic": "`semantic:`", "similar": "`similar_texts:`",
        "contamination": "`contamination:`", "leak": "`contamination:`'s texts", "loss": "`losses:`",
        "answer": "`answers:`",
        **{name: f"`signals: {{{name}: …}}`" for name in IMAGE_MODELS},
    }  # fmt: skip
    columns = known_columns()
    parts = [
        "# Signals and columns",
        "The columns that rules may use, as `curate signals` lists them. A row with several images takes the worst of"
        " them. Every column may be null; a comparison with null is not true.",
    ]
    for kind, title in kinds.items():
        rows = [
            (f"`{name}`", column.type.lower(), as_markdown(column.meaning))
            for name, column in columns.items()
            if column.table == kind
        ]
        parts += [f"## From {title}", table(["column", "type", "range, unit, meaning"], rows)]
    forms = [(f"`{form}`", as_markdown(about)) for form, about in FORMS.items()]
    parts += ["## From other rows, and fields of your own", table(["form", "meaning"], forms)]
    parts += [
        "## Formulas",
        "A signal is measured once for each different image. When its version changes, it alone is remeasured.",
    ]
    for name in sorted({path.stem for path in (REPO / "curate/signals").glob("*.py")} - {"__init__"}):
        module = importlib.import_module(f"curate.signals.{name}")
        signals = getattr(module, "SIGNALS", ())
        models = getattr(module, "IMAGE_MODELS", ())
        if not signals and not models:
            continue
        rows = [
            (each.name, str(each.version), ", ".join(f"`{column}`" for column in each.columns),
             as_markdown(inspect.getdoc(how) or "") if how else "")
            for each, how in [*((each, each.compute) for each in signals), *((each, each.read) for each in models)]
        ]  # fmt: skip
        parts += [
            f"### {name}",
            as_markdown(module.__doc__ or ""),
            table(["signal", "version", "columns", "how it is computed"], rows),
        ]
    return "\n\n".join(parts) + "\n"


def layouts_page() -> str:
    """Every layout with its example and what its file says about it."""
    from curate.readers import LAYOUTS

    parts = [
        "# Layouts",
        "The forms of published data that are read as they are. The layout is recognised by content; set `layout:` if"
        " two fit. `curate sources` prints this list.",
        table(
            ["layout", "what it is"],
            ((f"[`{name}`](#{name})", as_markdown(one.title)) for name, one in LAYOUTS.items()),
        ),
    ]
    for name, layout in LAYOUTS.items():
        parts += [
            f"## {name}",
            as_markdown(layout.about or ""),
            f"```yaml\nsources:\n  - {layout.example}\n```",
        ]
    return "\n\n".join(parts) + "\n"


def tasks_page() -> str:
    """Every task that ships: what it asks, how a reply is read, how it is scored."""
    from evalsuite.tasks.benchmark import by_kind
    from evalsuite.tasks.spec import load_spec, shipped_tasks

    specs = {name: load_spec(name) for name in shipped_tasks()}
    parts = [
        "# Tasks",
        "Tasks that ship. Name one in `tasks:` of an evaluation recipe, or start your own from it with `base:`.",
        "The tables name the code, with its revision, that computed the values which the tests compare with, on a few"
        " made-up rows and replies. No hub can be reached where Winnow is tested: that the published files have the"
        " columns which their cards and these tools name is not checked.",
    ]
    for kind, names in by_kind(specs).items():
        rows = [_task_row(name, specs[name]) for name in names]
        header = ["task", "headline", "licence", "prompt of", "checked against", "not checked"]
        parts += [f"## {kind.capitalize()}", table(header, rows)]
        for name in names:
            parts.append(_task_section(name, specs[name], shipped_tasks()[name]))
    return "\n\n".join(parts) + "\n"


def _task_row(name: str, spec: TaskSpec) -> list[str]:
    benchmark = spec.benchmark
    assert benchmark is not None
    cells = (benchmark.prompt, benchmark.checked, benchmark.unchecked or "–")
    return [f"[`{name}`](#{name})", f"`{next(iter(spec.metrics))}`", spec.source.license or "see its source",
            *map(as_markdown, cells)]  # fmt: skip


def _task_section(name: str, spec: TaskSpec, path: Path) -> str:
    benchmark = spec.benchmark
    assert benchmark is not None
    rule = f", rule {spec.extraction.rule}" if spec.extraction.rule else ""
    facts = [
        ("data", benchmark.data),
        ("read as", f"`{spec.extraction.kind}`{rule}"),
        ("metrics", ", ".join(f"`{metric}`" for metric in spec.metrics)),
        ("scores", benchmark.aggregate),
    ]
    shown = table(["", ""], ((title, as_markdown(text)) for title, text in facts))
    return (
        f"### {name}\n\n{as_markdown(spec.description)}.\n\n{shown}\n\n```yaml\n{path.read_text(encoding='utf-8')}```"
    )


def metrics_page() -> str:
    """Every metric: its numbers with unit and best value, its options, its modules."""
    from evalsuite.metrics import METRICS

    parts = [
        "# Metrics",
        "Name a metric in `metrics:` of a task file. A share is stored from 0 to 1 and shown in percent. A row without"
        " an answer scores 0.",
    ]
    for name, metric in METRICS.items():
        numbers = [
            (f"`{name}{suffix}`", number.title, number.unit or "number", _plain(number.top), _plain(number.right_from))
            for suffix, number in metric.numbers.items()
        ]
        parts += [
            f"## {name}",
            as_markdown(metric.about),
            table(["column", "title", "unit", "perfect score", "a row is right from"], numbers),
        ]
        options = [f"`{option}`" for option in metric.options]
        if metric.variants:
            options.append("variants " + ", ".join(f"`{variant}`" for variant in metric.variants))
        if options:
            parts.append(f"Options: {', '.join(options)}.")
        if metric.modules:
            modules = ", ".join(f"`{module.name}`" for module in metric.modules)
            parts.append(f"For Hugging Face's `evaluate`: `evalsuite.module_path(NAME)` with {modules}.")
    return "\n\n".join(parts) + "\n"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


# ---- notebooks ---------------------------------------------------------------------------------


def notebook_page(path: Path) -> str:
    """A notebook as Markdown: text, code, and what the code showed."""
    notebook = nbformat.read(path, as_version=4)
    return "\n\n".join(part for cell in notebook.cells for part in _cell(cell)) + "\n"


def _cell(cell: Any) -> Iterator[str]:
    if cell.cell_type == "markdown":
        yield cell.source
        return
    yield f"```python\n{cell.source}\n```"
    for output in cell.outputs:
        data = output.get("data", {})
        if "text/html" in data:  # pandas' tables, styled as those of the site
            text = re.sub(r"<style.*?</style>\n?", "", data["text/html"], flags=re.S)
            yield text.replace('<table border="1" class="dataframe">', "<table>")
        else:
            yield f"```text\n{(output.get('text') or data.get('text/plain', '')).rstrip()}\n```"
