"""The rows that a quantiser is calibrated on: trained rows with images, prepared as in training."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from finetune.data.chat import join_rows
from finetune.data.collate import EXTRA_KEYS, Collator
from finetune.data.plan import ROWS
from finetune.data.rows import Rows, open_rows
from finetune.data.schedule import passes_filter
from finetune.data.template import UntrainableRow
from finetune.export.record import Calibration
from finetune.model.load import load_processor
from finetune.recipe import TrainRecipe
from winnow.errors import UserError
from winnow.files import sha256_file
from winnow.media.images import DEFAULT_MAX_BYTES
from winnow.media.locate import locate


def write_calibration(
    recipe: TrainRecipe,
    run: Path,
    folder: Path,
    *,
    count: int,
    seed: int,
    images: Collection[str],
    ids: Collection[str],
) -> Calibration:
    """Draw rows that the run accepted and write the model's inputs for each to ``folder``.

    Args:
        images: sha256 of the evaluation's images, whose rows are left out.
        ids: sample ids that are left out.

    Raises:
        UserError: the run's rows are gone, or none has an image and is no evaluation row.
    """
    import torch
    from safetensors.torch import save_file

    rows, numbers = open_rows(recipe), accepted_rows(run)
    if len(numbers) and int(numbers.max()) >= len(rows):
        raise UserError(f"{recipe.data}: has fewer rows than when {run} was trained; restore it")
    processor = load_processor(str(run / "adapter"))
    collator = Collator(processor, rows.image_root, recipe.input_settings)
    filters = [stage.filter for stage in recipe.resolved_stages()]
    dtype = getattr(torch, recipe.compute_dtype)
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[str] = []
    left_out = 0
    for row in np.random.default_rng(seed).permutation(numbers).tolist():
        if len(drawn) == count:
            break
        sample = rows[row]
        if not sample.image or not any(not each or passes_filter(sample, rows.set_of(row), each) for each in filters):
            continue
        if sample.id in ids or _digests(rows, row) & set(images):
            left_out += 1
            continue
        try:
            batch = collator([join_rows([sample], [row])])
        except (UntrainableRow, ValueError):
            continue  # a file that has changed since the rows were checked
        tensors = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in batch.items()
            if name not in EXTRA_KEYS
        }
        save_file(
            {name: value.contiguous() for name, value in tensors.items()}, folder / f"{len(drawn):05d}.safetensors"
        )
        drawn.append(sample.id)
    if not drawn:
        raise UserError(f"{run}: no trained row has an image and is no evaluation row, so nothing can be calibrated on")
    named = recipe.data if isinstance(recipe.data, dict) else {"data": recipe.data}
    data = {name: str(place) for name, place in named.items()}
    return Calibration(data=data, rows=len(drawn), seed=seed, sample_ids=drawn, left_out=left_out)


def accepted_rows(run: Path) -> np.ndarray:
    """Numbers of the rows that the run's checks accepted, int64 (rows,).

    Raises:
        UserError: the run's table of them is gone.
    """
    stored = run / ROWS
    if not stored.is_file():
        raise UserError(f"{stored}: no such file; train the run again with --fresh to calibrate on its rows")
    return np.unique(pq.read_table(stored, columns=["row"])["row"].to_numpy())


def _digests(rows: Rows, row: int) -> set[str]:
    """sha256 of a row's images; those that cannot be read have none."""
    found = (locate(name, str(rows.image_root), max_bytes=DEFAULT_MAX_BYTES) for name in rows[row].image)
    return {sha256_file(Path(each.file)) for each in found if each.file is not None}
