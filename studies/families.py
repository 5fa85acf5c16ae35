"""How far Winnow's training goes with each architecture: ``python -m studies.families [--out FILE]``.

Every architecture of AutoModelForImageTextToText is taken apart without weights. Tiny models of the families whose
processors can be built offline go the whole way: plan, labels, two steps of training, merge and reload. Each cell is
``ok`` or the sentence that refuses it.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from winnow import console
from winnow.errors import UserError

STAGES = ("plan", "labels", "train", "merge and reload")
app = console.new_app(single_command=True)


def anatomy(name: str) -> dict[str, str]:
    """Parts and quantised share of an architecture without weights, as cells of the table."""
    from finetune.model.quantised import quantised_share
    from tests.architectures import bare
    from winnow.vlm.anatomy import find_parts

    try:
        model = bare(name)
        parts = find_parts(model)
    except UserError as error:
        return {"parts": str(error)}
    shares = [quantised_share(model, parts, kind) for kind in ("nf4", "int8")]
    return {
        "parts": "ok", "tower": parts.encoder or "none", "projector": ", ".join(parts.projector) or "none",
        "decoder": parts.decoder, "other": ", ".join(parts.other), "nf4": f"{shares[0]:.0%}",
        "int8": f"{shares[1]:.0%}",
    }  # fmt: skip


def whole_way(family: str, folder: Path) -> dict[str, str]:
    """What a tiny model of a family reaches, stage by stage; the first that is refused ends it."""
    from finetune.data.collate import Collator, check_masks, first_of_each_source
    from finetune.data.plan import make_plan
    from finetune.data.rows import open_rows
    from finetune.export.merge import merge
    from finetune.model.load import load_processor
    from finetune.recipe import TrainRecipe
    from finetune.training.run import dry_run, train
    from tests.finetune import models
    from winnow.run import Stages

    shutil.rmtree(folder, ignore_errors=True)
    model = models.checkpoint(family, folder / "model", weights=True)
    recipe = TrainRecipe(
        name=family, out=folder / "run", model=str(model), data=_rows(folder), lora_rank=2, lora_dropout=0, max_steps=2,
        batch_size=2, compute_dtype="float32", num_workers=0, max_length=512, save_steps=2, vision="lora",
        learning_rate=5e-3,
    )  # fmt: skip

    def labels() -> None:
        rows, processor = open_rows(recipe), load_processor(recipe.model, None, recipe.input_settings)
        plan = make_plan(recipe, rows, processor, stages=Stages(folder / "labels"), inputs={})
        collator = Collator(processor, rows.image_root, recipe.input_settings)
        check_masks(collator, first_of_each_source(rows, plan.schedules, 4))

    work: dict[str, Callable[[], object]] = {
        "plan": lambda: dry_run(recipe, folder / "plan"), "labels": labels, "train": lambda: train(recipe),
        "merge and reload": lambda: merge(recipe.folder, folder / "merged", into="dequantized", count=4),
    }  # fmt: skip
    reached: dict[str, str] = {}
    for stage in STAGES:
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                work[stage]()
        except UserError as error:
            return {**reached, stage: str(error).replace(str(folder), family)}
        reached[stage] = "ok"
    return reached


def _rows(folder: Path) -> Path:
    from PIL import Image

    from tests.finetune.toys import COLOURS, record, write_rows

    rows = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        Image.new("RGB", (40 + 8 * number, 40), colour).save(folder / f"{number}.png")
        rows.append(record(2 * number, f"{number}.png", "<image>\nwhat color is the square?", name))
        rows.append(record(2 * number + 1, f"{number}.png", "<image>\nis it red?", "yes" if name == "red" else "no"))
    path: Path = write_rows(folder / "rows.jsonl", rows)
    return path


def as_markdown(parts: dict[str, dict[str, str]], ways: dict[str, dict[str, str]]) -> str:
    """Both tables as a page."""
    import transformers

    lines = [
        "# Architectures", "",
        f"Made by `make families` with transformers {transformers.__version__}. `ok`, or the sentence that refuses it.",
        "", "## The whole way, with tiny models", "",
        f"| family | {' | '.join(STAGES)} |", f"|---|{'---|' * len(STAGES)}",
        *(f"| {name} | {' | '.join(_cell(way.get(stage, '–')) for stage in STAGES)} |" for name, way in ways.items()),
        "", "## Parts, without weights", "",
        "Default configurations. The shares are those of the decoder's weights, embeddings not counted, that each"
        " quantization covers. *Other* modules are never trained.",
        "", "| type | image tower | projector | decoder | other | nf4 | int8 |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, cells in parts.items():
        shown = [cells.get(key, "") for key in ("tower", "projector", "decoder", "other", "nf4", "int8")]
        if cells["parts"] != "ok":
            shown[0] = _cell(cells["parts"])
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


@app.command()
def main(out: Annotated[Path, typer.Option(help="Page to write.")] = Path("docs/results/families.md")) -> None:
    """Take every architecture apart, train a tiny model of each family, and write both tables."""
    from tests.architectures import NAMES
    from tests.finetune import models
    from winnow.files import write_text
    from winnow.vlm.models import prepare_libraries

    prepare_libraries()
    parts = {name: anatomy(name) for name in NAMES}
    ways = {}
    with tempfile.TemporaryDirectory() as folder:
        for family in models.CONFIGS:
            ways[family] = whole_way(family, Path(folder) / family)
            print(family, ways[family])
    write_text(out, as_markdown(parts, ways))


if __name__ == "__main__":
    console.run(app)
