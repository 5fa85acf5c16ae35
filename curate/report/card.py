"""``README.md`` of a curated folder: what went in, what came out, by which rules, with examples.

It is a dataset card of the Hugging Face hub: the front matter names licence, size and files. Text of the dataset is
written as text: nothing in it becomes Markdown, HTML or a second cell. The same seed gives the same examples.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import yaml

from curate.exports.export import license_fields
from curate.kinds import Kind, limited_search
from curate.readers.facts import SourceFacts, shortened
from curate.readers.unclaimed import unused_fields, warnings
from curate.recipe import CurateRecipe
from curate.report.summaries import rows_at
from curate.rules.checked import CheckedRule
from curate.workspace import Workspace
from winnow.files import atomic_path, write_text
from winnow.media.locate import locate
from winnow.parquet.tables import database, parquet
from winnow.remote import addresses
from winnow.text import cell, counted, escaped, share, table

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))


# Without these, `datasets` takes the types of the first 10 MB and refuses any later row that differs: one of another
# source, with other keys in ``meta``, with several images. Its type ``json`` came with version 4.7.
_FEATURES = [
    *({"name": name, "dtype": "string"} for name in ("id", "source", "split")),
    *({"name": name, "dtype": "json"} for name in ("image", "conversations", "meta")),
    {"name": "answers", "list": "string"},
]


def write_card(
    workspace: Workspace,
    recipe: CurateRecipe,
    recipe_name: str,
    rules: list[CheckedRule],
    counts: dict[str, Any],
    found: Mapping[str | None, Sequence[int]],
    root: Path,
    *,
    decode_examples: bool,
) -> Examples:
    """Write the dataset card and its thumbnails.

    Args:
        recipe_name: how to call the recipe in commands.
        counts: of ``curate.report.counts.count_rows``.
        found: examples: see ``examples``.
        root: folder below which the images lie.
        decode_examples: see ``examples.examples``.
    """
    chosen = examples(workspace, recipe, found, rules, root, decode_images=decode_examples)
    parts = [
        _head(recipe, counts),
        funnel_section(counts),
        sources_section(recipe, counts),
        reading_section(counts),
        splits_section(recipe, counts),
        copies_section(recipe, counts),
        contamination_section(recipe, counts),
        corrections_section(json.loads(workspace.corrections.read_text(encoding="utf-8"))),
        rules_section(rules),
        chosen.text,
        _reproduce(recipe, recipe_name, root),
    ]
    write_text(workspace.card, "\n\n".join(part for part in parts if part) + "\n")
    return chosen


def front_matter(recipe: CurateRecipe, kept: int) -> dict[str, Any]:
    """The YAML that the hub reads."""
    names = [source.license for source in recipe.sources if source.license]
    files = (
        [{"split": split, "path": f"samples-{split}.jsonl"} for split in recipe.splits.shares] if recipe.splits else []
    )
    return {
        "pretty_name": recipe.name,
        **license_fields(names),
        "task_categories": ["visual-question-answering"],
        "size_categories": [next((name for limit, name in _SIZES if kept < limit), "n>10M")],
        "configs": [{"config_name": "default", "data_files": files or [{"split": "train", "path": "samples.jsonl"}]}],
        "dataset_info": {"features": _FEATURES},
    }


def _head(recipe: CurateRecipe, counts: dict[str, Any]) -> str:
    kept = counts["keep"] + counts["flag"]
    front = yaml.safe_dump(front_matter(recipe, kept), sort_keys=False, allow_unicode=True)
    parts = (
        [f"| `samples-{split}.jsonl` | those of the split |" for split in recipe.splits.shares] if recipe.splits else []
    )
    return "\n".join(
        [
            f"---\n{front}---",
            f"# {recipe.name}",
            "",
            f"{kept:,} of {counts['rows']:,} rows kept ({share(kept, counts['rows'])}), {counts['flag']:,} flagged;",
            f"{counts['drop']:,} dropped; {counted(counts['images'], 'different image')}.",
            "",
            "| file | content |",
            "|---|---|",
            "| `samples.jsonl` | kept rows in input order, one JSON object a line |",
            *parts,
            "| `samples.parquet` | every input row with its decision |",
            "| `decisions.parquet` | every rule that fired on a row, with values and thresholds |",
            "| `ledger.jsonl` | dropped and flagged rows, readable with less |",
            "| `signals/` | what was measured, by image and by row |",
            "| `manifest.json` | recipe, digests of inputs and outputs, versions, counts, timings |",
        ]
    )


def _reproduce(recipe: CurateRecipe, recipe_name: str, root: Path) -> str:
    settings = yaml.safe_dump(
        recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True
    )
    images, folder = addresses.shown(root), addresses.shown(recipe.folder)
    return f"""## Make it again

`curate run {recipe_name}` (image paths are relative to `{images}`). `curate explain ROW --curated {folder}`
explains a decision.

```yaml
{settings}```"""


_STATUSES = {
    "applied": "changed the row, or decided about it",
    "noted": "kept for evaluation, changes nothing here",
    "stale": "the row is not the one that the reviewer saw",
    "conflict": "two reviewers disagree; nothing was done",
    "settled": "two reviewers disagreed; a third line settled it against this one",
    "superseded": "the same reviewer decided again later",
    "undone": "taken back by the reviewer",
    "elsewhere": "about a row that is not in this set",
}
_LISTED = 10


def funnel_section(counts: dict[str, Any]) -> str:
    """Rules in order with what each took out."""
    left = counts["rows"]
    rows = [["input", "", "", "", "", f"{left:,}"]]
    for rule in counts["rules"]:
        left -= rule["reason"]
        numbers = (rule["fired"], rule["alone"], rule["reason"], left)
        rows.append([rule["rule"], rule["action"], *(f"{number:,}" for number in numbers)])
    return f"""## Funnel

`fired` counts rows on which the rule fired; `reason` those that it took out, because no dropping
rule before it had; `alone` those that no other rule fired on.

{table(["rule", "action", "fired", "alone", "reason", "rows left"], rows, numbers_from=2)}"""


def sources_section(recipe: CurateRecipe, counts: dict[str, Any]) -> str:
    """Rows of each source, and where they came from under which licence."""
    columns = ("rows", "keep", "flag", "drop")
    rows = [[cell(source["source"]), *(f"{source[name]:,}" for name in columns)] for source in counts["sources"]]
    places = [[cell(source.location, code=True), cell(source.license or "not stated")] for source in recipe.sources]
    return f"""## Sources

{table(["source", "rows", "kept", "flagged", "dropped"], rows, numbers_from=1)}

{table(["read from", "licence"], places)}"""


def reading_section(counts: dict[str, Any]) -> str:
    """Fields that nothing uses, what reading has assumed, and images that cannot be used."""
    read = [SourceFacts.model_validate(each) for each in counts["read"]]
    used = {column for rule in counts["rules"] for column in rule["columns"]}
    unused = [
        (facts, each.field, cell(each.remedy, code=True)) for facts in read for each in unused_fields(facts, used)
    ]
    fields = [
        [
            cell(shortened(field.name)),
            cell(facts.location),
            f"{field.rows:,} of {facts.rows:,}",
            cell(field.example),
            remedy,
        ]
        for facts, field, remedy in unused
    ]
    errors = [
        [found["error"], f"{found['images']:,}", cell(found["example"]), cell(found["detail"] or "")]
        for found in counts["image_errors"]
    ]
    bad = [f"{facts.bad_rows:,} unreadable, such as {facts.first_bad}" for facts in read if facts.bad_rows]
    notes = [warning for facts in read for warning in warnings(facts)]
    limited = [f"{stage}: {limited_search(images)}" for stage, images in counts.get("limited", {}).items()]
    told = "\n".join(f"- {escaped(line)}" for line in (*(f"rows: {each}" for each in bad), *notes, *limited))
    headings = ["field", "source", "filled in", "for example", "to use it"]
    parts = [
        told,
        f"Fields that nothing uses, kept under `meta`:\n\n{table(headings, fields)}" if fields else "",
        f"Images that cannot be used:\n\n{table(['class', 'images', 'such as', 'detail'], errors)}" if errors else "",
    ]
    return "\n\n".join(["## Reading", *filter(None, parts)]) if any(parts) else ""


def splits_section(recipe: CurateRecipe, counts: dict[str, Any]) -> str:
    """Rows of each split by source."""
    if not counts["splits"] or not recipe.splits:
        return ""
    named = list(recipe.splits.shares)
    rows = []
    for source in counts["splits"]:
        in_split = [source["rows"].get(name, 0) for name in named]
        rows.append([cell(source["source"]), *(f"{number:,} ({number / source['total']:.1%})" for number in in_split)])
    asked = ", ".join(f"{name} {share:g}" for name, share in recipe.splits.shares.items())
    return f"""## Splits

Asked for: {asked}, seed {recipe.splits.seed}. Rows about copies of one image are in one split.

{table(["source", *named], rows, numbers_from=1)}"""


def copies_section(recipe: CurateRecipe, counts: dict[str, Any]) -> str:
    """Rows that repeat another one, by the kind of copy that their images are."""
    if not recipe.duplicates:
        return ""
    done = {True: "duplicate", False: "edited copy"}
    rows = [
        [found["kind"], done[found["duplicate"]], f"{found['rows']:,}", f"{found['rows_dropped']:,}"]
        for found in counts["copies"]
    ]
    listed = table(["kind", "the row is a", "rows", "dropped"], rows, numbers_from=2) if rows else "None was found."
    return f"""## Copies

Rows that repeat another row about a copy of its image, by kind; `decisions.parquet` names the other row.

{listed}

{looked_for(recipe.duplicates.kinds, semantic=recipe.semantic is not None)}"""


def contamination_section(recipe: CurateRecipe, counts: dict[str, Any]) -> str:
    """Images and questions that evaluation sets hold too, by kind."""
    if not recipe.contamination:
        return ""
    rows, kinds = [], []
    for found in counts["contamination"]:
        name, same = cell(found["benchmark"]), found["images_by_bytes"]
        images = (found["images"], same, found["images"] - same)
        numbers = (*images, found["rows"], found["rows_with_same_question"], found["rows_dropped"])
        rows.append([name, *(f"{number:,}" for number in numbers)])
        kinds += [
            [name, kind["kind"], kind["action"], *(f"{kind[key]:,}" for key in ("images", "rows", "rows_dropped"))]
            for kind in found["kinds"]
        ]
    headings = ["benchmark", "images", "byte for byte", "by look", "rows", "with the same question", "dropped"]
    by_kind = table(["benchmark", "kind", "action", "images", "rows", "dropped"], kinds, numbers_from=3)
    parts = [
        "## Contamination",
        "What is also in an evaluation set; `contamination.parquet` lists it row by row.",
        table(headings, rows, numbers_from=1),
        *([by_kind] if kinds else []),
        looked_for(recipe.contamination.kinds, semantic=False),
    ]
    return "\n\n".join(parts)


def looked_for(kinds: Mapping[Kind, str], *, semantic: bool) -> str:
    """Which kinds of copies a search could see, and which not.

    Args:
        semantic: whether embeddings were compared too.
    """
    named = {
        action: ", ".join(kind for kind in kinds if kinds[kind] == action) for action in ("drop", "flag", "ignore")
    }
    told = [f"{action}: {named[action]}" for action in ("drop", "flag") if named[action]]
    unseen = [f"{named['ignore']} (ignored)"] if named["ignore"] else []
    if semantic:
        told.append("flag: semantic, by `semantic:`")
    else:
        unseen.append("semantic (other pictures of the same thing: pixels do not tell)")
    return f"Looked for: {'; '.join(told) or 'nothing'}. Not looked for: {', '.join(unseen) or 'none'}."


def corrections_section(report: dict[str, Any]) -> str:
    """The status of the reviewers' lines; those that need attention by id."""
    if not report["counts"]:
        return ""
    rows = [[status, f"{number:,}", _STATUSES.get(status, "")] for status, number in report["counts"].items()]
    listed = [f"{table(['status', 'lines', 'meaning'], rows)}"]
    for status in ("conflict", "stale"):
        ids = [line for line, found in report["lines"].items() if found == status]
        if ids:
            more = f" and {len(ids) - _LISTED:,} more" if len(ids) > _LISTED else ""
            listed.append(f"{status.capitalize()}: {', '.join(cell(line) for line in ids[:_LISTED])}{more}.")
    return "\n\n".join(["## Corrections", "Reviewers' lines; `corrections.json` has the status of each.", *listed])


def rules_section(checked: list[CheckedRule]) -> str:
    """Every rule with its condition, which holds the thresholds."""
    rows = [[rule.name, rule.action, cell(rule.expression.text, code=True), _standing(rule)] for rule in checked]
    return f"""## Rules

In the order in which a reason is sought. "Not validated" names the scores one of which is enough to make the rule fire,
though nobody has measured on labelled data how often they are right.

{table(["rule", "action", "fires when", "validated"], rows)}"""


def _standing(rule: CheckedRule) -> str:
    if rule.validated:
        return cell(rule.validated)
    names = ", ".join(cell(name, code=True) for name in rule.unvalidated)
    return f"**not validated**: {names}" if names else ""


FOLDER = "examples"
_SIDE, _SHOWN = 160, 80  # pixels of a thumbnail, and as shown


@dataclass(frozen=True)
class Examples:
    """The section of the card.

    Attributes:
        text: Markdown.
        files: thumbnails that it shows.
        complete: whether no thumbnail is missing.
    """

    text: str
    files: list[Path]
    complete: bool


def examples(
    workspace: Workspace, recipe: CurateRecipe, found: Mapping[str | None, Sequence[int]], rules: list[CheckedRule],
    root: Path, *, decode_images: bool,
) -> Examples:  # fmt: skip
    """Rows of each rule that fired and some that are kept.

    Args:
        found: their positions, as of ``curate.report.summaries.Summary``.
        root: folder below which the images lie.
        decode_images: make thumbnails; else those that are not there yet link to the image itself.
    """
    chosen = _chosen(workspace, found, rules)
    shown: dict[str, str] = {}
    files: list[Path] = []
    complete = True
    for row in (row for rows in chosen.values() for row in rows):
        if row["image"] is None or row["image_key"] is None or row["image_key"] in shown:
            continue
        thumbnail = workspace.folder / FOLDER / f"{row['image_key'][:24]}.jpg"
        if thumbnail.is_file() or (decode_images and _make_thumbnail(thumbnail, row["image"], root, recipe)):
            files.append(thumbnail)
            shown[row["image_key"]] = f"{FOLDER}/{thumbnail.name}"
        else:
            complete = complete and decode_images
            shown[row["image_key"]] = _link_to(workspace, row["image"], root)
    for stale in set((workspace.folder / FOLDER).glob("*.jpg")) - set(files):
        stale.unlink()
    parts = [_section(name, rows, shown) for name, rows in chosen.items() if rows]
    return Examples("\n\n".join(["## Examples", *parts]) if parts else "", files, complete)


def _chosen(
    workspace: Workspace, found: Mapping[str | None, Sequence[int]], rules: list[CheckedRule]
) -> dict[str, list[dict[str, Any]]]:
    """The rows at the positions of each rule: sample_id, question, answer, image_key, image (null if it cannot be
    shown), because and instead.
    """
    positions = np.unique([0, *itertools.chain.from_iterable(found.values())][1:]).astype(np.int64)
    columns = ["sample_id", "question", "answer", "images", "image_keys"]
    samples = {row["position"]: row for row in rows_at(workspace.samples_table, positions, columns).to_pylist()}
    fired = {row["position"]: row["rules"] for row in rows_at(workspace.decisions, positions, ["rules"]).to_pylist()}
    first = {position: row["images"][0] for position, row in samples.items() if row["images"]}
    with database(workspace.work) as connection:
        connection.register("wanted", pa.table({"path": pa.array(sorted({*first.values()}), pa.string())}))
        query = f"SELECT path, error FROM {parquet([workspace.paths])} SEMI JOIN wanted USING (path)"
        errors = dict(connection.execute(query).fetchall())

    def row(position: int, rule: str | None) -> dict[str, Any]:
        said: dict[str, Any] = next((one for one in fired[position] or [] if one["rule"] == rule), {})
        sample, image = samples[position], first.get(position)
        usable = image is not None and errors.get(image) in (None, "", "wrong_extension", "animated")
        return {
            **{name: sample[name] for name in ("sample_id", "question", "answer")},
            "because": said.get("values"), "instead": said.get("related_row"),
            "image_key": sample["image_keys"][0] if sample["image_keys"] else None, "image": image if usable else None,
        }  # fmt: skip

    named = {rule.name: [row(position, rule.name) for position in found.get(rule.name, [])] for rule in rules}
    return named | {"kept": [row(position, None) for position in found.get(None, [])]}


def _make_thumbnail(thumbnail: Path, image: str, root: Path, recipe: CurateRecipe) -> bool:
    """Whether a small JPEG of the image could be made."""
    from winnow.media import images

    found = locate(image, str(root.resolve()), max_bytes=recipe.signals.max_bytes)
    if found.file is None:
        return False
    caps = {"max_bytes": recipe.signals.max_bytes, "max_pixels": recipe.signals.max_pixels}
    opened, _ = images.decode(Path(found.file).read_bytes(), **caps)
    if opened is None:
        return False
    opened.thumbnail((_SIDE, _SIDE))
    with atomic_path(thumbnail) as temporary:
        opened.save(temporary, "JPEG", quality=80)
    return True


def _link_to(workspace: Workspace, image: str, root: Path) -> str:
    """A link to the image where it lies, '' where there is none."""
    if locate(image, str(root.resolve()), max_bytes=1 << 62).file is None:
        return ""
    return quote(f"{os.path.relpath(root.absolute(), workspace.folder.absolute())}/{image}")


def _section(name: str, rows: list[dict[str, Any]], shown: dict[str, str]) -> str:
    because = name != "kept"
    lines = []
    for row in rows:
        link = shown.get(row["image_key"] or "", "")
        values = json.loads(row["because"] or "{}").items()
        texts = [row["sample_id"], row["question"], row["answer"]]
        if because:
            texts += [", ".join(f"{key} {_number(value)}" for key, value in values), row["instead"]]
        lines.append([f'<img src="{link}" width="{_SHOWN}">' if link else "–", *(cell(text or "") for text in texts)])
    headings = ["image", "row", "question", "answer", *(["because", "instead"] if because else [])]
    return f"### {name}\n\n{table(headings, lines)}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
