"""The console script ``curate``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from winnow import console
from winnow.errors import UserError
from winnow.remote import addresses
from winnow.remote.published import bring, brought, published
from winnow.text import counted, visible

if TYPE_CHECKING:
    from curate.pipeline import Outcome
    from curate.settings.sources import SourceSettings

app = console.new_app(
    """Turn raw image-text data into a curated training set, with a reason for every row.

    `curate inspect` shows what a file or folder holds. `curate run` measures every image in one decode and writes
    the set, with a policy for photographs and documents that it leaves beside the result as recipe.yaml. After a rule
    has changed there, `curate decide` writes the set again from the stored signals, in seconds.

    Exit codes: 0 done, 1 no row was kept, or `curate leaks` found something, 2 wrong input or command line, 3 images
    were not measured because a storage or machine failed, 130 interrupted.

    Example: curate run my-photos, then: curate decide data/curated/my-photos/recipe.yaml
    """
)
CuratedArgument = Annotated[
    Path, typer.Argument(metavar="CURATED", help="A curated folder, or the recipe that made it.")
]
RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file, e.g. curate/recipes/photos.yaml.")]


LocationArgument = Annotated[
    str, typer.Argument(metavar="LOCATION", help="A file, a folder, a pattern, a data package's name, or hub:REPO.")
]
# How a location is read: the keys of an entry of `sources:`.
AsOption = Annotated[
    str | None, typer.Option("--as", metavar="LAYOUT", help="Read it as this layout instead of detecting it.")
]
RootOption = Annotated[str | None, typer.Option(help="Folder that its image paths are relative to.")]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option("--columns", metavar="ROLE=FIELD", help="What a field is, e.g. answer=label,image=pic; repeatable."),
]
SplitOption = Annotated[str | None, typer.Option(help="The split to read, where the location holds several.")]
AnnotationsOption = Annotated[
    str | None, typer.Option(metavar="FILE|none", help="VQA's second file, if it is not beside the questions.")
]
OcrOption = Annotated[
    str | None, typer.Option(metavar="FILE|none", help="TextVQA's OCR tokens, if they are not beside the questions.")
]
CaptionPromptOption = Annotated[
    str | None, typer.Option(help="The question of captions that come without one. [default: Describe the image.]")
]
AnswerBaseOption = Annotated[
    int | None,
    typer.Option(metavar="0|1", help="Number of the first option of multiple choice. [default: from all rows]"),
]
FollowLinksOption = Annotated[bool, typer.Option("--follow-links", help="Also read what links out of the image root.")]
StreamingOption = Annotated[bool, typer.Option("--streaming", help="Read hub:REPO while it is downloaded.")]
IdsOption = Annotated[
    str | None, typer.Option(metavar="own|position", help="position: number the rows of a dataset that repeats ids.")
]


def _source(location: str, columns: list[str] | None, **given: Any) -> SourceSettings:
    """The options of a command line as an entry of ``sources:``."""
    from curate.settings.sources import SourceSettings
    from winnow.recipe import parse_recipe

    values = {key: value for key, value in given.items() if value is not None and value is not False}
    if columns:
        values["columns"] = dict(_pairs(columns))
    return parse_recipe({"location": location, **values}, SourceSettings, where=location)


def _pairs(given: list[str]) -> list[tuple[str, str]]:
    """``role=field`` of each option; several in one option are separated by commas."""
    pairs = []
    for option in given:
        parts = option.split(",")
        for part in parts if all("=" in part for part in parts) else [option]:
            role, equals, field = part.partition("=")
            if not (role and equals and field):
                raise UserError(f"--columns {option}: is not ROLE=FIELD, e.g. --columns answer=label")
            pairs.append((role.strip(), field))
    return pairs


def _is_recipe(target: str) -> bool:
    return target.endswith((".yaml", ".yml"))


@app.command()
def run(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|LOCATION", help="A recipe (.yaml), or what `curate inspect` takes: a file, a folder, hub:…"
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            "-o",
            help="Name or folder of a location's result: data/curated/NAME. [default: from the location]",
        ),
    ] = None,
    as_name: AsOption = None,
    image_root: RootOption = None,
    columns: ColumnsOption = None,
    split: SplitOption = None,
    annotations: AnnotationsOption = None,
    ocr: OcrOption = None,
    ids: IdsOption = None,
    caption_prompt: CaptionPromptOption = None,
    answer_base: AnswerBaseOption = None,
    follow_links: FollowLinksOption = False,
    streaming: StreamingOption = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Processes that decode images; does not change the result. [default: CPUs]"),
    ] = None,
) -> None:
    """Curate a dataset: read, measure, compare, decide, write.

    Reads folders of images, tables, VQA, TextVQA, GQA, DocVQA, COCO, LLaVA and more as published: see `curate sources`.
    A LOCATION is curated with the shipped policy, offline, into data/curated/<name>/. Its recipe is left there as
    recipe.yaml, with what each rule took: edit it and run or decide it. A RECIPE says all of it itself.
    Images inside tables, shards or hub datasets become files below images/ of the result. Images behind URLs are
    downloaded there if the recipe has `remote: {}`; a run that resumes downloads only what is missing.
    Writes samples.jsonl, decisions.parquet, ledger.jsonl, a dataset card and a manifest. It may be killed at any point:
    run it again to resume. If nothing has changed, it does nothing.

    Example: curate run my-photos, or: curate run my.yaml --workers 8
    """
    from curate.pipeline import run as run_pipeline
    from curate.recipe import read_recipe
    from winnow.parquet.tables import look_for_no_pandas

    look_for_no_pandas()
    source = _source(
        target, columns, layout=as_name, image_root=image_root, split=split, annotations=annotations, ocr=ocr, ids=ids,
        caption_prompt=caption_prompt, answer_base=answer_base, follow_links=follow_links, streaming=streaming,
    )  # fmt: skip
    if _is_recipe(target):
        if name or source.model_dump(exclude_defaults=True).keys() > {"location"}:
            raise UserError(f"{target}: is a recipe, and options of a location do not apply to it; write them into it")
        recipe = Path(target)
    else:
        from curate.kept_recipe import recipe_of

        recipe = recipe_of(source, name)
    outcome = run_pipeline(read_recipe(recipe), str(recipe), workers)
    if not outcome.seconds:
        print(f"{addresses.shown(outcome.workspace.folder)}: is up to date, nothing to do")
    if not _is_recipe(target):
        from curate.kept_recipe import add_shares

        add_shares(outcome.workspace, outcome.counts)
    _show_outcome(outcome, recipe)
    if not _is_recipe(target):
        _show_policy(recipe)


def _show_policy(recipe: Path) -> None:
    """What a newcomer does next with the recipe that was written."""
    print(f"policy: {recipe}, with the rows that each rule fired on; edit it and decide again")
    print("off: signals that need a download or an extra; the recipe says how to switch them on")


@app.command()
def init(
    location: LocationArgument,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="The recipe. [default: the location's name]")
    ] = None,
    as_name: AsOption = None,
    image_root: RootOption = None,
    columns: ColumnsOption = None,
    split: SplitOption = None,
    annotations: AnnotationsOption = None,
    ocr: OcrOption = None,
    ids: IdsOption = None,
    caption_prompt: CaptionPromptOption = None,
    answer_base: AnswerBaseOption = None,
    follow_links: FollowLinksOption = False,
    streaming: StreamingOption = False,
) -> None:
    """Write a recipe for a location and curate nothing.

    The recipe has the layout, image root, splits and fields that were found, and the rules of the shipped policy with
    the rows that each would take of a sample of 200. An existing file is not overwritten.

    Example: curate init my-data/train.csv -o my.yaml
    """
    from curate.init import init as write_recipe
    from curate.init import name_of

    source = _source(
        location, columns, layout=as_name, image_root=image_root, split=split, annotations=annotations, ocr=ocr,
        ids=ids, caption_prompt=caption_prompt, answer_base=answer_base, follow_links=follow_links, streaming=streaming,
    )  # fmt: skip
    target = out or Path(f"{name_of(location)}.yaml")
    found = write_recipe(source, target)
    rows = counted(found.facts.rows, "row")
    print(f"{target}: {rows} read as {found.opened.layout}, images in {found.opened.image_root}")
    print(f"next: edit {target}, then `curate run {target}`")


@app.command()
def decide(
    recipe: RecipeArgument,
    into: Annotated[
        Path | None,
        typer.Option(help="Decide in this new folder and leave the recipe's own as it is, to compare the two."),
    ] = None,
) -> None:
    """Decide again from stored signals, in seconds.

    Uses what an earlier `curate run` has measured and opens no image. Run it after you have edited thresholds, rules,
    duplicates or corrections. Sources, signals and evaluation sets must be those that were measured.

    Example: curate decide my.yaml
    """
    from curate.pipeline import decide_again
    from curate.recipe import read_recipe
    from winnow.parquet.tables import look_for_no_pandas

    look_for_no_pandas()
    outcome = decide_again(read_recipe(recipe), str(recipe), into)
    _show_outcome(outcome, recipe)


@app.command()
def verify(
    curated: Annotated[Path, typer.Argument(metavar="SET", help="A curated folder, or the recipe that made it.")],
    check: Annotated[bool, typer.Option("--check", help="Only report: change nothing.")] = False,
) -> None:
    """Check a finished set byte by byte, and make again what is damaged.

    Reads every input, every image and every file of the folder, and compares their sha256 with those that the manifest
    and the run have noted. Lists what is missing, changed or damaged. What Winnow has made itself is then made again by
    the set's own recipe, which measures only images whose signals are lost; the result has the same bytes as before. If
    an input has changed, nothing is made: a run would make another set.
    Exit codes: 0 all is right, if need be again; 1 something is not; 2 there is no finished set.

    Example: curate verify data/curated/demo, or: curate verify data/curated/demo --check
    """
    from curate.verify import make_again, show
    from curate.verify import verify as check_all

    folder = _folder(curated)
    found = check_all(folder)
    show(found)
    if found.wrong and not check and found.can_be_made_again:
        found = make_again(found)
        print(f"{addresses.shown(folder)}: was made again")
        show(found)
    if found.wrong:
        raise typer.Exit(1)


@app.command()
def explain(
    row: Annotated[
        str,
        typer.Argument(
            metavar="ROW",
            help="Its id, e.g. easy_vqa/train/12, the name or path of its image, or words of its question.",
        ),
    ],
    curated: Annotated[Path, typer.Option(help="A curated folder, or the recipe that made it.")],
) -> None:
    """Explain why a row was kept, flagged or dropped.

    Shows every rule in order with its values, fired or not; which row is kept in its place and how much their
    images differ; and which evaluation set holds its image. Where several rows fit, it lists them: give the id of one.

    Example: curate explain easy_vqa/train/12 --curated data/curated/demo, or:
    curate explain "how many dogs" --curated data/curated/demo
    """
    from curate.report.explained import show_explanation, show_found_rows
    from curate.rules.explain import explain_row
    from curate.rules.find_row import find_rows

    folder = _folder(curated)
    found = find_rows(folder, row)
    if found.count == 1:
        show_explanation(explain_row(folder, found.rows[0].sample_id))
    else:
        show_found_rows(found, folder)


@app.command()
def leaks(
    target: Annotated[
        str, typer.Argument(metavar="SET", help="A finished curated folder, a recipe (.yaml), or a location.")
    ],
    against: Annotated[
        list[str],
        typer.Option(
            metavar="LOCATION",
            help="An evaluation set; repeatable. Keys of a source may follow: test.json,image_root=images,split=test",
        ),
    ],
    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="KIND,…",
            help="exact, re-encoded, resized, toned, brighter, cropped, framed, overlaid, mirrored, turned."
            " [default: all of them]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write the pairs: .parquet, .csv or .jsonl.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Processes that decode images; does not change the result. [default: CPUs]"),
    ] = None,
) -> None:
    """Find images of evaluation sets in a data set, edited copies too.

    Prints for each evaluation set how many of its images were found, as which kind of copy, and examples. Rows without
    images match by their question. Of a curated folder the kept rows are looked at. What is read and measured stays
    below data/leaks, so that the next call measures only what is new; nothing is written into SET.
    Exit codes: 0 nothing was found, 1 something was, 2 wrong input, 3 some images could not be measured.

    Example: curate leaks train.json --against test.json --against other.jsonl,image_root=images --out leaks.csv
    """
    from curate.leaks import find_leaks, kinds_of
    from curate.report.explained import show_leaks

    chosen = kinds_of(kinds)
    found = find_leaks(target, against, chosen, out, workers)
    show_leaks(found, chosen, out)
    _check_all_measured(found.not_measured)
    if found.found:
        raise typer.Exit(1)


@app.command()
def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A curated folder, or the recipe that made it.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The curated folder or recipe to compare it with.")],
    limit: Annotated[int, typer.Option(min=0, help="Examples of each kind of change.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: counts, changed rules, transitions.")] = False,
) -> None:
    """List the rows that two curations decide differently.

    Counts them by rule, with examples, and shows which rules differ.

    To try other thresholds and keep the first result, decide into a second folder and compare the two.

    Example: curate decide stricter.yaml --into data/curated/stricter, then:
    curate diff data/curated/demo data/curated/stricter
    """
    from curate.report.console import show_diff
    from curate.report.diff import as_json as to_json
    from curate.report.diff import diff as compare

    found = compare(_folder(a), _folder(b), limit)
    if as_json:
        print(to_json(found))
    else:
        show_diff(found)


@app.command()
def plot(curated: CuratedArgument) -> None:
    """Draw the funnel, and every signal with the rules' thresholds.

    Writes plots/ into the curated folder: index.html, a page that needs no network, and a PNG for each chart.
    Reads stored signals and opens no image.

    Example: curate plot data/curated/demo
    """
    from curate.report.plots import plot as draw

    folder = _folder(curated)
    with published(folder):
        page, *charts = draw(folder)
    print(f"{addresses.shown(page)}: {len(charts)} charts, each as a PNG beside it")


@app.command()
def export(
    curated: CuratedArgument,
    to: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="jsonl, parquet, webdataset, imagefolder, ms-swift, llama-factory, trl, trl-dpo, llava,"
            " openai-messages, evalscope, or original: the files that it was made from, without the dropped rows.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder to write. [default: exports/FORMAT in the curated folder]")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="path|copy",
            help="Refer to the image files by path, or copy them into the export (openai-messages and evalscope:"
            " into the rows, as data URIs). parquet, webdataset and imagefolder always hold them.",
        ),
    ] = None,
    shard_megabytes: Annotated[
        int, typer.Option(min=1, max=8000, help="Largest shard of parquet and webdataset.")
    ] = 500,
    mistakes: Annotated[
        Path | None,
        typer.Option(
            metavar="EVALUATION",
            help="For trl-dpo: a folder of `evalsuite run` on questions of these rows; wrong replies become rejected"
            " answers.",
        ),
    ] = None,
) -> None:
    """Write the kept rows in a format that another tool loads.

    Rows that the format cannot hold are listed in rejects.jsonl with the reason. The folder appears when it is
    complete; an interrupted export resumes where it stopped.

    Example: curate export data/curated/demo --to llama-factory --out /data/demo-lf
    """
    from curate.exports.export import export as write_export
    from curate.exports.rows import open_curated
    from curate.report.console import show_export
    from curate.settings.outputs import ExportSettings
    from winnow.recipe import parse_recipe

    values = {"to": to, "out": out, "images": images, "shard_megabytes": shard_megabytes, "mistakes": mistakes}
    settings = parse_recipe(values, ExportSettings, where="curate export")
    folder = _folder(curated)
    with published(folder) if out is None else contextlib.nullcontext():
        show_export(write_export(open_curated(folder), settings))


@app.command()
def select(
    curated: CuratedArgument,
    budget: Annotated[str, typer.Option(metavar="SHARE|ROWS", help="20% of the kept rows, or a number of rows.")],
    by: Annotated[
        str,
        typer.Option(
            metavar="STRATEGY", help="random, quality, coverage, facility, balanced, loss or picture_gain; see below."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="The folder to write. [default: beside the set, named by strategy and budget]"
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN [ASC]",
            help="For quality: rank by this column of `curate signals`, large values first unless ASC; repeatable.",
        ),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="For balanced: answer, source, cluster or a column. [default: answer]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of random rows, ties and clusters.")] = 0,
) -> None:
    """Choose a part of a curated set, and as many random rows to prove the choice against.

    Writes two curated folders: the selection, and OUT-random with the same budget. Train and evaluate on both, then
    `evalsuite chosen` says whether the choice was better than random; the next `curate select` of this set repeats it.

    random: any rows. quality: best mean rank of --column (clip_alignment, sharpness, entropy). coverage: pictures far
    from those taken (k-centre). facility: pictures that stand for most others (facility location). balanced: as many
    of each --per. loss: highest train_loss. picture_gain: rows whose answer needs the picture most.

    Example: curate select data/curated/demo --budget 20% --by coverage
    """
    from curate.report.console import show_selection
    from curate.selection.select import select as choose

    folder = _folder(curated)
    show_selection(folder, choose(folder, budget, by, out, columns=tuple(column or ()), per=per, seed=seed))


@app.command()
def inspect(
    location: LocationArgument,
    as_name: AsOption = None,
    image_root: RootOption = None,
    columns: ColumnsOption = None,
    split: SplitOption = None,
    annotations: AnnotationsOption = None,
    ocr: OcrOption = None,
    ids: IdsOption = None,
    caption_prompt: CaptionPromptOption = None,
    answer_base: AnswerBaseOption = None,
    follow_links: FollowLinksOption = False,
    streaming: StreamingOption = False,
) -> None:
    """Show what a dataset holds before it is curated.

    Shows the layout, counts, three rows, and every class of problem with examples. The layout is detected from the
    content; `curate sources` lists those that are known. Reads every row and decodes 200 images. Writes nothing.

    Example: curate inspect data/raw/demo/vqa.jsonl --image-root data/raw/demo
    """
    from curate.readers.inspect import inspect_location
    from curate.report.inspection import show_inspection

    source = _source(
        location, columns, layout=as_name, image_root=image_root, split=split, annotations=annotations, ocr=ocr,
        ids=ids, caption_prompt=caption_prompt, answer_base=answer_base, follow_links=follow_links, streaming=streaming,
    )  # fmt: skip
    show_inspection(inspect_location(source))


@app.command()
def sources() -> None:
    """List the dataset layouts, each with a recipe entry.

    A recipe's `sources:` is a list of such entries. `layout:` is only needed where the content fits two
    layouts; `source:` and `split:` set the first parts of every id.

    Example: curate sources
    """
    from rich.console import Console

    from curate.report.inspection import sources_table

    Console().print(sources_table())


@app.command()
def signals() -> None:
    """List the columns that rules may use, with their meaning.

    Shows type, unit, range and formula of each.

    Example: curate signals
    """
    from rich.console import Console

    from curate.report.inspection import columns_table

    Console().print(columns_table())


def _show_outcome(outcome: Outcome, recipe: Path) -> None:
    """Print what a run left; exit code 1 says that nothing is kept, 3 that images could not be measured."""
    from curate.report.console import show_nothing_kept, show_summary
    from curate.report.nothing_kept import why_nothing_is_kept

    show_summary(outcome.counts, outcome.seconds, outcome.workspace, str(recipe))
    _check_all_measured(outcome.not_measured)
    if cause := why_nothing_is_kept(outcome.counts):
        show_nothing_kept(cause, outcome.counts["rows"])
        raise typer.Exit(1)


def _check_all_measured(not_measured: str | None) -> None:
    """End with exit code 3 if a result lacks images for reasons that are not theirs."""
    if not_measured:
        print(visible(not_measured), file=sys.stderr)
        raise typer.Exit(3)


def _folder(curated: Path) -> Path:
    """A curated folder, or that of a recipe; one on object storage is brought here."""
    from curate.recipe import read_recipe

    if curated.suffix not in (".yaml", ".yml"):
        return brought(curated)
    folder = read_recipe(curated).folder
    bring(folder)
    return folder


def main() -> None:
    """Entry point of the console script."""
    console.run(app)


if __name__ == "__main__":
    main()
