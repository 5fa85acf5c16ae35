"""``exports:`` of a recipe, and the options of ``curate export``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, model_validator

from winnow.recipe import StrictModel

FormatName = Literal["jsonl", "parquet", "webdataset", "imagefolder", "ms-swift", "llama-factory", "trl"]
FORMAT_NAMES: tuple[str, ...] = get_args(FormatName)
# Formats that hold the pictures themselves; the others can name them where they lie.
SELF_CONTAINED = ("parquet", "webdataset", "imagefolder")


class ExportSettings(StrictModel):
    """One export.

    Attributes:
        to: the format.
        out: the folder to make; null is ``exports/<format>`` in the curated folder.
        images: ``path`` leaves pictures where they lie and names them there, ``copy`` puts them into
            the export; null is the format's own way: ``copy`` for ``parquet``, ``webdataset`` and
            ``imagefolder``, which always hold them, else ``path``.
        shard_megabytes: largest size of one shard of ``parquet`` or ``webdataset``.
    """

    to: FormatName
    out: Path | None = None
    images: Literal["path", "copy"] | None = None
    shard_megabytes: int = Field(default=500, ge=1, le=8000)

    @model_validator(mode="after")
    def _pictures_fit_the_format(self) -> ExportSettings:
        if self.to in SELF_CONTAINED and self.images == "path":
            raise ValueError(f"{self.to} holds the pictures; leave out 'images: path'")
        return self

    @property
    def copies(self) -> bool:
        """Whether pictures go along."""
        return self.to in SELF_CONTAINED or self.images == "copy"
