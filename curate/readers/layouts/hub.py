"""A dataset of the Hugging Face hub, ``hub:<repo>[:<config>][:<split>]``, read by ``datasets``.

``<repo>`` may be a local folder (``hub:./my-dataset``). Columns are those of ``table``; whole conversations
are read too; images are bytes, and become files of the curated folder. Without a split every split is read.
``HF_ENDPOINT`` names a mirror, ``HF_HOME`` the cache, and the login of `hf auth login` is used. Interrupted
downloads continue. ``streaming: true`` downloads nothing in advance. Code of a repository is never run.
Source: https://huggingface.co/docs/datasets.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.readers.base import Layout, Reading, given_root
from curate.readers.files.json import RawRow
from curate.readers.location import Probe
from curate.readers.tables.columns import Columns
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.remote.hub import why_offline

if TYPE_CHECKING:
    import datasets

_PREFIX = "hub:"
Classes = Mapping[str, "datasets.ClassLabel"]


def looks_like(probe: Probe) -> bool:
    """A location that begins with ``hub:``."""
    return probe.location.startswith(_PREFIX)


def image_root(settings: SourceSettings) -> Path:
    """Only images that the dataset names by path are looked for there: the working directory."""
    return given_root(settings) or Path()


def local_folder(location: str) -> Path | None:
    """The folder that a location names instead of a dataset of the hub, if it does."""
    repo = Path(_parts(location)[0])
    return repo if repo.is_dir() else None


def revision(location: str) -> str:
    """The commit on the hub, by which a changed dataset is noticed; '' without a connection."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    if why_offline():
        return ""
    try:
        return str(huggingface_hub.HfApi().dataset_info(_parts(location)[0]).sha)
    except (HfHubHTTPError, OSError, ValueError):  # no connection: what the cache holds is read
        return ""


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """One split, or all."""
    location = settings.location
    repo, config, split = _parts(location)
    source = settings.source if settings.source is not None else repo.rstrip("/").rpartition("/")[2]
    for name, rows, classes in _splits(location, repo, config, split or settings.split, settings.streaming):
        read = functools.partial(_rows, rows, classes, location, f"{location} {name}".rstrip())
        columns = Columns(settings.model_copy(update={"source": source, "split": settings.split or name}), read)
        yield Reading(read(), columns.sample)


def _parts(location: str) -> tuple[str, str | None, str | None]:
    """Repository, config and split of ``hub:repo:config:split``."""
    repo, _, rest = location.removeprefix(_PREFIX).partition(":")
    config, _, split = rest.partition(":")
    if not repo:
        raise UserError(f"{location}: names no dataset; write hub:<repo>[:<config>][:<split>]")
    return repo, config or None, split or None


def _splits(
    location: str, repo: str, config: str | None, split: str | None, streaming: bool
) -> Iterator[tuple[str, Iterable[Mapping[str, Any]], Classes]]:
    offline = None if Path(repo).is_dir() else why_offline()
    import datasets  # after that, by which it knows whether to use its cache only
    from datasets.exceptions import DatasetNotFoundError

    try:
        loaded = datasets.load_dataset(repo, config, split=split or None, streaming=streaming)
    except DatasetNotFoundError as error:
        raise UserError(f"{location}: {_sentence(error)}") from error
    except (ValueError, RuntimeError, OSError, datasets.exceptions.DatasetsError) as error:
        if offline is not None:
            raise UserError(
                f"{location}: is not in the cache ({datasets.config.HF_DATASETS_CACHE}), and {offline}: set HF_ENDPOINT"
                " to a mirror of the hub, copy the cache of another machine here and set HF_HUB_OFFLINE=1, or give a"
                " local folder (hub:./FOLDER)"
            ) from error
        raise UserError(f"{location}: cannot be loaded ({_sentence(error)})") from error
    if not isinstance(loaded, datasets.DatasetDict | datasets.IterableDatasetDict):
        loaded = {split or "": loaded}
    for name, rows in loaded.items():
        yield str(name), *_as_stored(rows)


def _as_stored(rows: Any) -> tuple[Iterable[Mapping[str, Any]], Classes]:
    """Rows with images as their bytes, not decoded; and the columns of classes."""
    import datasets

    features: Mapping[str, Any] = rows.features or {}
    for name, feature in features.items():
        inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else None)
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(name, datasets.Image(decode=False))
        elif isinstance(inner, datasets.Image):
            rows = rows.cast_column(name, datasets.List(datasets.Image(decode=False)))
    return rows, {name: kind for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)}


def _rows(rows: Iterable[Mapping[str, Any]], classes: Classes, location: str, where: str) -> Iterator[RawRow]:
    """The rows, with classes by their names; a connection or file that breaks off is a sentence."""
    try:
        for number, row in enumerate(rows):
            yield RawRow(_with_names(row, classes), f"{where}: row {number + 1}", number)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{location}: breaks off ({_sentence(error)}); run again to resume") from error


def _with_names(row: Mapping[str, Any], classes: Classes) -> dict[str, Any]:
    """Class numbers replaced by names; -1 stands for a hidden class and stays."""
    known = {name: kind for name, kind in classes.items() if isinstance(row[name], int) and row[name] >= 0}
    return {**row, **{name: kind.int2str(row[name]) for name, kind in known.items()}}


def _sentence(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return words[:400] or type(error).__name__


LAYOUT = Layout(
    __doc__,
    "{location: 'hub:HuggingFaceM4/ChartQA::test', streaming: true}",
    looks_like,
    readings,
    image_root=image_root,
)
