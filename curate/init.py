"""From a location to a recipe: the shipped policy, filled in with what is found there.

The policy is ``recipes/default.yaml``. Here it gets a name, its source with layout, image root, splits and fields
without a role, and behind each rule the rows that it fires on.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from curate.pipeline import try_rules
from curate.readers import OpenedSource, open_source
from curate.readers.base import folder_of
from curate.readers.facts import Counting, SourceFacts, shortened
from curate.readers.location import split_of
from curate.readers.unclaimed import unused_fields, warnings
from curate.recipe import CurateRecipe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.files import write_text
from winnow.hash_index import digest64
from winnow.media.locate import is_url
from winnow.progress import track
from winnow.recipe import parse_recipe
from winnow.rows.records import BadRow, Sample
from winnow.text import counted

POLICY = Path(__file__).parent / "recipes/default.yaml"
SAMPLE = 200  # rows whose images are measured for the shares of the rules
_AT_LEAST, _AT_MOST = 1_000, 100_000  # rows of a short look
_FIELDS_SHOWN, _SPLITS_SHOWN = 12, 8
_VAGUE_NAMES = {"annotations", "data", "default", "images", "img", "labels", "metadata", "rows", "samples", ""}
_OF_COPIES = ("conflicting", "duplicate", "look_alike")  # rules of the policy on `duplicates:`
_RULE = re.compile(r"(  (?P<name>[\w.-]+): +\{.*\})(?:  # .*)?")
_HEADING = "# Behind each rule: rows that it fired on, of "


@dataclass(frozen=True)
class Look:
    """What is found at a location.

    Attributes:
        complete: whether all rows were read, else the first ones.
        facts: counts of rows and of fields without a role.
        answered: rows with an answer.
        by_path: rows with an image that is a file of the dataset.
        by_url: rows with an image behind a URL.
        splits: name → rows.
        sampled: ids, or places of bad rows, as 64-bit digests, of the rows that stand for all.
    """

    opened: OpenedSource
    complete: bool
    facts: SourceFacts
    answered: int
    by_path: int
    by_url: int
    splits: Mapping[str, int]
    sampled: frozenset[int]


def look(settings: SourceSettings, *, whole: bool) -> Look:
    """Read the rows of a location, without opening an image.

    Args:
        whole: all rows; else at least 1,000, and on to the first one with an answer, at most 100,000.

    Raises:
        UserError: nothing is there, no layout fits, or a file is broken.
    """
    opened = open_source(settings)
    counting = Counting(settings.location, opened.layout, opened.notes)
    splits, counts = Counter[str](), Counter[str]()
    smallest: list[int] = []  # a heap of the smallest digests, negated
    complete = True
    for number, row in enumerate(track(opened.rows(), f"look at {settings.location}")):
        if not whole and number >= (_AT_LEAST if counts["answered"] else _AT_MOST):
            complete = False
            break
        counting.add(row)
        if len(smallest) < SAMPLE:
            heapq.heappush(smallest, -_digest(row))
        else:
            heapq.heappushpop(smallest, -_digest(row))
        if isinstance(row, Sample):
            splits[row.split] += 1
            counts["answered"] += bool(row.answers) or any(turn.role == "assistant" for turn in row.conversations)
            counts["by_url"] += any(is_url(path) for path in row.image)
            counts["by_path"] += any(path not in row.embedded and not is_url(path) for path in row.image)
    sampled = frozenset(-digest for digest in smallest)
    return Look(
        opened, complete, counting.facts(), counts["answered"], counts["by_path"], counts["by_url"], splits, sampled
    )


def _digest(row: Sample | BadRow) -> int:
    return digest64(row.id if isinstance(row, Sample) else row.where)


def name_of(location: str) -> str:
    """A name for the result: of the file, folder, pattern, package or hub dataset, with the folder of a vague one."""
    if location.startswith("hub:"):
        path = Path(location.split(":")[1])
        own = path.name
    else:
        path = Path(location).resolve()
        own = path.name if path.is_dir() else path.stem
    own = re.split(r"[*?\[{]", own)[0].strip("-_. ")
    if not own or own.lower() in _VAGUE_NAMES or split_of(Path(own)):
        folders = (folder.name for folder in path.parents if folder.name.lower() not in _VAGUE_NAMES)
        own = "-".join(filter(None, [next(folders, ""), own]))
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", own).strip("-.")
    return name if re.match("[A-Za-z_]", name) else f"set-{name}".rstrip("-")


def recipe_text(path: Path, name: str, out: Path | None, settings: SourceSettings, found: Look) -> str:
    """The recipe of a location, commented, ready to edit.

    Args:
        path: of the file that it is written to.
        out: the folder of the result; None is ``data/curated/<name>``.
    """
    template = POLICY.read_text(encoding="utf-8")
    about, _, _ = template.partition("\n#\n")
    policy = template[template.index("# remote:") :]
    if not found.answered:  # a set of images to be labelled, or a test split
        policy = policy.replace("  unanswered:", "  # (no row has an answer, so this would drop all)\n  # unanswered:")
    if found.by_url:
        policy = (
            f"# {found.by_url:,} of the rows read have an image behind a URL; remove the # of the next line.\n{policy}"
        )
    if tests := [split for split in found.splits if split_of(Path(split or "-")) in ("test", "validation")]:
        example = yaml_line({"location": settings.location, "split": tests[0]})
        policy = re.sub(r"#     - \{location: .*\}", lambda _: f"#     - {example}", policy)
    lines = [
        "# Edit it, then:",
        f"#   curate decide {_printable(str(path))}   after a change of rules, duplicates, splits …; opens no image",
        f"#   curate run {_printable(str(path))}      after a change of sources or signals; measures only what is new",
        "#",
        about,
        "#",
        "# All paths are relative to the folder that you call curate in.",
        f"name: {yaml_line(name)}",
        *([f"out: {yaml_line(str(out))}"] if out else []),
        "",
        "sources:",
        *_source_lines(settings, found),
        "",
        policy,
    ]
    return "\n".join(lines)


def _source_lines(settings: SourceSettings, found: Look) -> Iterator[str]:
    facts = found.facts
    given = settings.model_dump(mode="json", exclude_defaults=True)
    given.setdefault("layout", found.opened.layout)
    root = found.opened.image_root
    if found.by_path and root != folder_of(settings):
        given.setdefault("image_root", str(root))
    for number, (key, value) in enumerate(given.items()):
        yield f"  {'-' if number == 0 else ' '} {key}: {yaml_line(value)}"
    rows = counted(facts.rows, "row") if found.complete else f"the first {facts.rows:,} rows"
    bad = f", {facts.bad_rows:,} more cannot be read, e.g. {_printable(facts.first_bad)}" if facts.bad_rows else ""
    images = f", images in {_printable(str(root))}" if found.by_path and "image_root" not in given else ""
    yield f"    # {rows}{images}{bad}"
    if len(found.splits) > 1:
        ordered = sorted(found.splits.items(), key=lambda item: -item[1])[:_SPLITS_SHOWN]
        shown = ", ".join(f"{name or '(none)'} {count:,}" for name, count in ordered)
        yield f"    # splits: {_printable(shown)}; `split:` reads one of them"
    yield from (f"    # {_printable(line)}" for line in warnings(facts))
    if unused := unused_fields(facts):
        yield "    # Fields that nothing uses are kept under `meta`:"
        for each in unused[:_FIELDS_SHOWN]:
            field = each.field
            yield _printable(
                f"    #   {shortened(field.name)}: {counted(field.rows, 'row')}, e.g. {field.example}; {each.remedy}"
            )
        if len(unused) > _FIELDS_SHOWN:
            yield f"    #   and {len(unused) - _FIELDS_SHOWN:,} more; `curate inspect` lists them"
    for key, about in (("split", "second part of every id, e.g. train"), ("license", "goes to the card")):
        if key not in given:
            yield f"    # {key}:{' ' * (30 - len(key))}# {about}"


def yaml_line(value: Any) -> str:
    """A value as YAML on one line."""
    readable = str(value).isprintable()
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=readable, sort_keys=False, width=1 << 20)
    return text.removesuffix("...\n").removesuffix("\n")


def _printable(text: str) -> str:
    """One line of text that cannot end the comment it stands in."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)[:200]


def with_shares(text: str, rules: Iterable[Mapping[str, Any]], rows: int, among: str) -> str:
    """The text of a recipe with the rows that each rule fired on written behind it, in place of earlier numbers.

    Args:
        rules: each with ``rule`` (its name) and ``fired`` (rows).
        rows: that were judged.
        among: which ones, e.g. ``all 500 rows``.
    """
    fired = {rule["rule"]: rule["fired"] for rule in rules}
    made = []
    for line in text.splitlines():
        if line.startswith(_HEADING):
            continue
        if line == "rules:":
            made.append(f"{_HEADING}{among}.")
        found = _RULE.fullmatch(line)
        if found and found["name"] in fired:
            number = fired[found["name"]]
            line = f"{found[1]}  # {number:,}" + (f" ({number / rows:.1%})" if number else "")
        made.append(line)
    return "\n".join(made) + "\n"


def init(settings: SourceSettings, target: Path) -> Look:
    """Write the recipe of a location, with the share of a sample of rows that each rule would take.

    Raises:
        UserError: ``target`` exists, or the location cannot be read.
    """
    if target.exists():
        raise UserError(f"{target}: exists already; give another file with -o, or remove it")
    found = look(settings, whole=True)
    text = recipe_text(target, name_of(str(target)), None, settings, found)
    recipe = parse_recipe(yaml.safe_load(text), CurateRecipe, where=str(target))
    counts = _counts_of_sample(recipe, found)
    read = found.facts.rows + found.facts.bad_rows
    among = f"a sample of {counts['rows']:,} of {read:,} rows" if counts["rows"] < read else f"all {read:,} rows"
    write_text(target, with_shares(text, counts["rules"], counts["rows"], among + "; duplicates were not looked for"))
    return found


def _counts_of_sample(recipe: CurateRecipe, found: Look) -> dict[str, Any]:
    """Counts of the rules on the sampled rows; their copies among all rows are not known, so none are looked for."""
    rules = {name: rule for name, rule in recipe.rules.items() if name not in _OF_COPIES}
    recipe = recipe.model_copy(update={"duplicates": None, "rules": rules, "corrections": None})

    def rows() -> Iterator[Sample | BadRow]:
        return itertools.islice((row for row in found.opened.rows() if _digest(row) in found.sampled), SAMPLE)

    sources: Sequence[tuple[SourceSettings, OpenedSource]] = [
        (recipe.sources[0], dataclasses.replace(found.opened, rows=rows))
    ]
    with tempfile.TemporaryDirectory(prefix="curate-init-") as folder:
        return try_rules(recipe, sources, Path(folder))
