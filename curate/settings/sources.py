"""``sources:`` and ``remote:`` of a recipe: what is read, and how images behind URLs are fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from winnow.errors import UserError
from winnow.recipe import StrictModel
from winnow.remote.addresses import address


class SourceSettings(StrictModel):
    """One entry of ``sources:`` in a recipe.

    Attributes:
        location: a file, a folder, a pattern of files (``shards-{000..041}.tar``, ``data/train-*.parquet``),
            ``hub:<repo>[:<config>][:<split>]``, or the name of an installed data package (``easy_vqa``).
        layout: a key of ``curate.readers.LAYOUTS``; null recognises it by content.
        source: name of the dataset, first part of every id; default: the file's or folder's name.
            A record that names its own source keeps it.
        split: second part of every id, e.g. ``train``; a record that names its own keeps it.
        image_root: folder that image paths are relative to; null: see the layout's module.
        columns: for tables, role (a key of ``curate.readers.tables.columns.COLUMN_NAMES``: ``id image question answer
            answers options caption label`` …) to column name, where it is not recognised; ``none`` for no column. The
            image may be in several: ``image: [left, right]``.
        caption_prompt: the question for captions that come without one; null is ``Describe the image.``, and
            captions of videos or sounds are bad rows.
        answer_base: for multiple choice, the number of the first option, 0 or 1; null tells it from all rows.
        annotations: for VQA and OK-VQA, the file of annotations, or ``none``; null looks for the
            published name beside the questions.
        ocr: for TextVQA, the file of OCR tokens, or ``none``; null looks beside the questions.
        streaming: for ``hub:`` locations, read while downloading instead of downloading first.
        ids: ``own`` keeps the dataset's ids; ``position`` appends ``#<row>`` to each, for
            datasets that repeat ids.
        follow_links: also read images behind links that leave ``image_root``. Links of a Hugging Face cache into its
            own ``blobs``, and a link at ``image_root`` itself, are followed in any case.
        license: of the dataset, e.g. ``cc-by-4.0``; goes to the card and the manifest.
    """

    location: str
    layout: str | None = None
    source: str | None = None
    split: str = ""
    image_root: str | None = None
    columns: dict[str, str | list[str]] = Field(default_factory=dict)
    caption_prompt: str | None = Field(default=None, min_length=1)
    answer_base: Literal[0, 1] | None = None
    annotations: str | None = None
    ocr: str | None = None
    streaming: bool = False
    ids: Literal["own", "position"] = "own"
    follow_links: bool = False
    license: str | None = None

    @field_validator("columns")
    @classmethod
    def _one_column_for_a_role(cls, columns: dict[str, str | list[str]]) -> dict[str, str | list[str]]:
        for role, names in columns.items():
            if role != "image" and not isinstance(names, str):
                raise ValueError(f"{role!r} needs one column; only the image may be in several")
        return columns


class RemoteSettings(StrictModel):
    """``remote:`` in a recipe: images behind URLs are fetched. Without it none are; ``remote: {}`` takes the defaults.

    Attributes:
        buckets: places on object storage whose images rows may name, e.g. ``[s3://bucket, gs://other/photos]``, beside
            those of ``sources:``. What a row alone names is not read: it would be with your credentials.
        mirror: prefix of URLs to what replaces it, e.g. ``{"http://images.cocodataset.org/": "http://mirror/coco/"}``.
        concurrency, per_host: connections at a time, in all and to one host.
        timeout: seconds without a byte before a connection counts as broken.
        deadline: seconds for one attempt, even while bytes still arrive.
        attempts: per image, in one run. Only transient failures are tried again: 408, 425, 429, 5xx, broken connections
            and timeouts.
        backoff: seconds before the second attempt; doubles with each, with jitter.
        max_wait: longest pause in seconds; a server that asks for a longer one is left for the next run.
        max_redirects: followed for one image.
        allow_private: also connect to private, loopback and link-local addresses.
        max_bytes, max_pixels: caps of fetched images; null takes those of ``signals:``.
    """

    buckets: tuple[str, ...] = ()
    mirror: dict[str, str] = Field(default_factory=dict)
    concurrency: int = Field(default=32, ge=1, le=1024)
    per_host: int = Field(default=8, ge=1)
    timeout: float = Field(default=30, gt=0)
    deadline: float = Field(default=300, gt=0)
    attempts: int = Field(default=5, ge=1, le=100)
    backoff: float = Field(default=1, ge=0)
    max_wait: float = Field(default=60, ge=0)
    max_redirects: int = Field(default=5, ge=0, le=50)
    allow_private: bool = False
    max_bytes: int | None = Field(default=None, gt=0)
    max_pixels: int | None = Field(default=None, gt=0)

    @field_validator("buckets")
    @classmethod
    def _addresses(cls, buckets: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(map(address, buckets))
        except UserError as error:
            raise ValueError(str(error)) from error


def benchmark_name(settings: SourceSettings) -> str:
    """Name of an evaluation set in reports: ``source/split``, or the file's name."""
    named = "/".join(part for part in (settings.source, settings.split) if part)
    return named or Path(settings.location).stem
