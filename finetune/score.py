"""Picture gain: how much likelier a row's answer becomes when the model sees its picture.

``picture_gain`` is the loss of the answer without the picture minus the loss with it, in nats per trained token. Each
row is a conversation of its own, rendered and masked as in training; only the forward pass runs, twice. Without the
picture, the prompt is the text alone. A processor that takes no text without an image (PaliGemma) sees plain grey
pictures of the same size instead. The file's metadata say which.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from finetune.data.abilities import Abilities
from finetune.data.chat import join_rows
from finetune.data.collate import Collator
from finetune.data.media import OpenedMedia, open_media
from finetune.data.plan import checked_rows, input_digests
from finetune.data.rows import Rows, open_rows
from finetune.export.outputs import load_adapter, open_run
from finetune.model.load import load_base, load_processor, processor_place
from finetune.processes import device, start_processes
from finetune.recipe import TrainRecipe, load
from finetune.training.run import pinned_recipe
from winnow.errors import UserError
from winnow.files import digest_of, read_json, sha256_file, write_json, write_text
from winnow.parquet.tables import write_parquet
from winnow.progress import track
from winnow.remote.downloads import local_model
from winnow.rows.conversations import IMAGE_MARKER
from winnow.rows.records import Sample
from winnow.run import MANIFEST, Stages
from winnow.vlm.models import check_model_name, prepare_libraries

VERSION = 1  # raise it when the same model gives other figures
_META = b"winnow"
_ROWS_A_PART = 512  # the most that a killed run loses
_TIMES_TRAINING = 4  # a batch without gradients takes far less memory than one that is trained
_GREY = (128, 128, 128)
_COLUMNS = [
    ("sample_id", pa.string()), ("loss", pa.float64()), ("loss_without", pa.float64()), ("picture_gain", pa.float64()),
    ("tokens", pa.int32()),
]  # fmt: skip


def score(target: Path, data: Path | None, out: Path) -> int:
    """Write the losses of a model on a set, with and without pictures; returns the number of rows.

    Rows that cannot be trained are left out and listed beside ``out`` in ``<name>.rejects.jsonl``. A row without an
    image has no gain.

    Args:
        target: a recipe, whose base model (with its ``adapter``) is asked, or a run folder.
        data: as ``data`` of a recipe; None: the recipe's own.
        out: the Parquet file. One that is current is left as it is.

    Raises:
        UserError: the recipe, the run, the data or the model cannot be used, or ``out`` is another kind of file.
    """
    of_run = target.is_dir()
    recipe = open_run(target) if of_run else pinned_recipe(load(target))
    check_model_name(recipe.model)
    partial = out.with_name(f"{out.name}.partial")
    changes = {"out": partial, "data": data or recipe.data, "image_root": recipe.image_root if data is None else None}
    recipe = recipe.model_copy(update={**_ONE_ROW_EACH, **changes})
    rows = open_rows(recipe)
    prepare_libraries()
    start_processes()
    console = Console(stderr=True, highlight=False)
    inputs = input_digests(recipe, rows) | ({"run": sha256_file(target / MANIFEST)} if of_run else {})
    settings = recipe.model_dump(mode="json", exclude={"name", "out"})
    made = digest_of({"version": VERSION, "recipe": settings, "inputs": inputs})
    if _is_current(out, made):
        console.print(f"{out} is up to date")
        return int(pq.read_metadata(out).num_rows)
    _keep_parts_of(partial, made)
    place = str(target / "adapter") if of_run else processor_place(recipe)
    processor = load_processor(place, None if of_run else recipe.chat_template, recipe.input_settings)
    checked = checked_rows(recipe, rows, processor, stages=Stages(partial), inputs=inputs)
    grey = Abilities(processor, recipe.input_settings).text_problem is not None
    meta = {"made": made, "without": "grey" if grey else "none"}
    schema = pa.schema(_COLUMNS, metadata={_META: json.dumps(meta, sort_keys=True)})
    order = np.argsort(checked.accepted.row)
    numbers, lengths = checked.accepted.row[order], checked.accepted.tokens[order]
    parts = [partial / f"part-{start:09d}.parquet" for start in range(0, len(numbers), _ROWS_A_PART)]
    if not all(part.is_file() for part in parts):
        collator = Collator(processor, rows.image_root, recipe.input_settings)
        scorer = _Scorer(_model(target if of_run else None, recipe), collator, rows, grey, recipe)
        for number, part in enumerate(track(parts, "scoring", len(parts))):
            if not part.is_file():
                chosen = slice(number * _ROWS_A_PART, (number + 1) * _ROWS_A_PART)
                table = scorer.table(numbers[chosen], lengths[chosen])
                write_parquet(part, [table.cast(schema)], schema)
    write_parquet(out, (pq.read_table(part) for part in parts), schema)
    rejects = (partial / "rejects.jsonl").read_text(encoding="utf-8")
    if rejects:
        write_text(out.with_name(f"{out.stem}.rejects.jsonl"), rejects)
        console.print(f"{sum(checked.rejected.values()):,} rows cannot be trained; {out.stem}.rejects.jsonl says why")
    shutil.rmtree(partial)
    console.print(f"{out}: {len(numbers):,} rows; name it under `answers: gains:` of a curation recipe", soft_wrap=True)
    return len(numbers)


# A recipe that scores: every row alone, with its own answer, whatever share of them cannot be trained.
_ONE_ROW_EACH: dict[str, Any] = {
    "method": "sft", "answers": "first", "questions_per_image": 1, "packing": False, "stages": [], "max_reject": 1.0,
    "evaluate": {}, "eval_tasks": {}, "eval_steps": None, "best": None, "patience": None,
}  # fmt: skip


def _is_current(out: Path, made: str) -> bool:
    if not out.is_file():
        return False
    try:
        meta = json.loads((pq.read_schema(out).metadata or {}).get(_META, b"{}"))
    except (pa.ArrowInvalid, ValueError):
        meta = {}
    if "without" not in meta:
        raise UserError(f"{out}: was not written by `finetune score`; give --out another name")
    return bool(meta.get("made") == made)


def _keep_parts_of(partial: Path, made: str) -> None:
    """Remove the parts that another model, set or version made."""
    known = partial / "made.json"
    if partial.exists() and (not known.is_file() or read_json(known) != {"made": made}):
        shutil.rmtree(partial)
    write_json(known, {"made": made})


def _model(run: Path | None, recipe: TrainRecipe) -> Any:
    """The run's model, or the recipe's base with its adapter, for inference."""
    if run is not None:
        return load_adapter(recipe, run, device())
    base = load_base(
        recipe.model, quantization=recipe.quantization, compute_dtype=recipe.compute_dtype,
        settings=recipe.input_settings, place=device(),
    )  # fmt: skip
    if recipe.adapter is None:
        return base.eval()
    from winnow.vlm.experts import load_adapter as load_lora

    return load_lora(base, local_model(recipe.adapter)).eval()


def without_picture(sample: Sample) -> Sample:
    """The sample as a text-only row."""
    turns = tuple(replace(turn, value=turn.value.replace(IMAGE_MARKER, "").strip()) if turn.role == "user" else turn
                  for turn in sample.conversations)  # fmt: skip
    return replace(sample, image=(), conversations=turns)


@dataclass(frozen=True)
class _Batches:
    """Batches of rows for a data loader: each with its pictures, and without those of the rows that have any."""

    rows: Rows
    collator: Collator
    grey: bool
    numbers: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> tuple[dict[str, Any], dict[str, Any] | None]:
        chosen = self.numbers[place]
        samples = [self.rows[row] for row in chosen]
        talks = [join_rows([sample], [row]) for sample, row in zip(samples, chosen, strict=True)]
        collator = self.collator
        opened = [open_media(talk, collator.image_root, collator.processor, collator.settings) for talk in talks]
        seen = collator.collate(talks, opened)
        pictured = [number for number, sample in enumerate(samples) if sample.image]
        if not pictured:
            return seen, None
        if self.grey:
            hidden = [_greyed(opened[number]) for number in pictured]
            return seen, collator.collate([talks[number] for number in pictured], hidden)
        blind = [join_rows([without_picture(samples[number])], [chosen[number]]) for number in pictured]
        return seen, collator.collate(blind, [replace(opened[number], images=()) for number in pictured])


def _greyed(opened: OpenedMedia) -> OpenedMedia:
    from PIL import Image

    return replace(opened, images=[Image.new("RGB", image.size, _GREY) for image in opened.images])


@dataclass(frozen=True)
class _Scorer:
    """A model and the rows that it is asked about."""

    model: Any
    collator: Collator
    rows: Rows
    grey: bool
    recipe: TrainRecipe

    def table(self, numbers: np.ndarray, lengths: np.ndarray) -> pa.Table:
        """The losses of some rows, in their order.

        Args:
            numbers, lengths: int64 (rows,), row numbers and their tokens.
        """
        from torch.utils.data import DataLoader

        size = self.recipe.batch_size * _TIMES_TRAINING
        # Rows with and without an image apart, as some processors take no batch of both; then by length.
        pictured = np.array([bool(self.rows[int(row)].image) for row in numbers])
        by_length = np.lexsort((numbers, lengths, pictured))
        cuts = np.split(by_length, [*range(size, len(by_length), size)])
        apart = [part for cut in cuts for part in (cut[~pictured[cut]], cut[pictured[cut]]) if len(part)]
        batches = _Batches(self.rows, self.collator, self.grey, [numbers[part].tolist() for part in apart])
        loader: Any = DataLoader(batches, batch_size=None, num_workers=self.recipe.num_workers)  # type: ignore[arg-type]
        seen: dict[int, tuple[float, int]] = {}
        blind: dict[int, tuple[float, int]] = {}
        for first, second in loader:
            seen |= self._losses(first)
            blind |= self._losses(second) if second is not None else {}
        named = [int(row) for row in numbers]
        loss = [seen[row][0] for row in named]
        without = [blind[row][0] if row in blind else None for row in named]
        gain = [None if other is None else other - own for own, other in zip(loss, without, strict=True)]
        ids = [self.rows[row].id for row in named]
        return pa.table([ids, loss, without, gain, [seen[row][1] for row in named]], names=[n for n, _ in _COLUMNS])

    def _losses(self, batch: dict[str, Any]) -> dict[int, tuple[float, int]]:
        """Row → mean loss over the trained tokens of all its answers, and their number."""
        import torch

        from finetune.training.trainer import answer_losses

        answers = batch.pop("rows").tolist()
        batch.pop("epochs")
        model = self.model
        inputs = {
            name: value.to(model.device, model.dtype if value.is_floating_point() else None)
            for name, value in batch.items()
        }
        with torch.inference_mode():
            losses, owners = answer_losses(model, model.get_output_embeddings(), inputs)
        found: dict[int, list[float]] = {}
        for owner, loss in zip(owners.tolist(), losses.double().tolist(), strict=True):
            found.setdefault(answers[owner], []).append(loss)
        return {row: (sum(each) / len(each), len(each)) for row, each in found.items()}
