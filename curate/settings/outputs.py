"""``splits:`` and ``exports:`` of a recipe: parts of the set, and other formats of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from winnow.recipe import Place, StrictModel

PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class SplitSettings(StrictModel):
    """``splits:`` in a recipe, e.g. ``{train: 0.9, val: 0.1, seed: 0}``.

    Attributes:
        shares: name → share of the groups of rows that belong together; they add up to 1.
        seed: decides which groups go to which split.
    """

    shares: dict[str, float]
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _shares_beside_the_seed(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "shares" in values:
            return values
        shares = {name: share for name, share in values.items() if name != "seed"}
        return {"shares": shares, **{key: values[key] for key in values.keys() & {"seed"}}}

    @field_validator("shares")
    @classmethod
    def _add_up(cls, shares: dict[str, float]) -> dict[str, float]:
        for name, share in shares.items():
            if not PLAIN_NAME.fullmatch(name) or not 0 < share <= 1:
                raise ValueError(f"split {name!r}: needs a plain name and a share above 0")
        if len(shares) < 2 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError("the shares of at least two splits must add up to 1, as in {train: 0.9, val: 0.1}")
        return shares


FormatName = Literal[
    "jsonl", "parquet", "webdataset", "imagefolder", "ms-swift", "llama-factory", "trl", "trl-dpo", "llava",
    "openai-messages", "evalscope", "original",
]  # fmt: skip
# Formats that hold the images themselves; the others can name them where they lie.
SELF_CONTAINED = ("parquet", "webdataset", "imagefolder")


class ExportSettings(StrictModel):
    """One export.

    Attributes:
        to: the format.
        out: the folder to write, here or on object storage; null is ``exports/<format>`` in the curated folder.
        images: ``path`` leaves images where they lie and names them there, ``copy`` copies them into
            the export (``openai-messages`` and ``evalscope``: into the rows, as data URIs); null is the format's
            default: ``copy`` for ``parquet``, ``webdataset`` and ``imagefolder``, which always hold them, else
            ``path``.
        shard_megabytes: largest size of one shard of ``parquet`` or ``webdataset``.
        mistakes: for ``trl-dpo``: an evaluation folder whose model was asked questions of these rows; its wrong replies
            are rejected answers.
    """

    to: FormatName
    out: Place | None = None
    images: Literal["path", "copy"] | None = None
    shard_megabytes: int = Field(default=500, ge=1, le=8000)
    mistakes: Path | None = None

    @model_validator(mode="after")
    def _images_fit_the_format(self) -> ExportSettings:
        if self.mistakes and self.to != "trl-dpo":
            raise ValueError("mistakes: only trl-dpo has a place for wrong replies")
        if self.to in SELF_CONTAINED and self.images == "path":
            raise ValueError(f"{self.to} holds the images; leave out 'images: path'")
        if self.to == "original" and self.images == "copy":
            raise ValueError("original leaves every row as it is, image paths too; leave out 'images: copy'")
        return self

    @property
    def copies(self) -> bool:
        """Whether the export holds copies of the images."""
        return self.to in SELF_CONTAINED or self.images == "copy"
