"""What rows are compared by, as hashes, made once for each part of the rows and the images that they are about."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.duplicates.comparable import AllRows, Images
from curate.duplicates.mixing import Hashes, mixed_columns, mixed_lists
from curate.workspace import Workspace
from winnow.files import sha256_bytes
from winnow.parquet.table_parts import PartTask
from winnow.parquet.tables import write_numbers

_VERSION = 1  # raise it when the same rows and images make other hashes
# asked: the question and the representatives of the images; answered: that, and the answer; alike: that, and the
# images; told: all that is compared of a row. Each has 128 bits.
NAMES = [f"{name}_{half}" for name in ("asked", "answered", "alike", "told") for half in ("high", "low")]
_HASHES = pa.schema([(name, pa.uint64()) for name in NAMES])


def row_hashes(workspace: Workspace, rows: AllRows, images: Images) -> dict[str, Hashes]:
    """The columns ``NAMES`` for all rows; those of a row without images, or with one that cannot be compared, say
    nothing. Brings ``workspace.row_hashes`` up to date.

    Raises:
        UserError: a file cannot be written.
    """
    facts = _image_facts(images)
    shown = np.stack([np.append(of, np.uint64(0)) for of in facts.values()], axis=1)  # the last: of no image
    corrected, parts = workspace.corrected, workspace.row_hashes
    tasks = []
    for path, start, count in zip(workspace.row_keys.files(), corrected.starts(), corrected.counts(), strict=True):
        some = rows.numbers[rows.offsets[start] : rows.offsets[start + count]]
        tasks.append(PartTask(["row hashes", _VERSION, path.name, sha256_bytes(shown[some].tobytes())], (path,)))
    by_name = {task.name: task for task in tasks}
    for name in parts.missing(by_name):
        made = _hashes(AllRows.read(by_name[name].args, images.keys), facts)
        write_numbers(parts.folder / name, pa.table(made, _HASHES))
    parts.finish([task.name for task in tasks])
    tables = [pq.ParquetFile(path).read() for path in parts.files()]
    return {
        name: np.concatenate([np.empty(0, np.uint64), *(table[name].to_numpy() for table in tables)]) for name in NAMES
    }


def _image_facts(images: Images) -> dict[str, Hashes]:
    """Of each image its key and star, what is compared of it, and whether its star has several."""
    return {
        "key": images.keys, "star": images.keys[images.stars],
        "look": images.digests ^ images.pixels.astype(np.uint64),
        "grouped": images.has_copies[images.stars].astype(np.uint64),
    }  # fmt: skip


def _hashes(rows: AllRows, facts: Mapping[str, Hashes]) -> dict[str, Hashes]:
    key, star, look, grouped = (np.append(of, np.uint64(0))[rows.numbers] for of in facts.values())
    offsets = rows.offsets
    own, said, answer = ([rows.half(f"{name}_high"), rows.half(f"{name}_low")] for name in ("id", "said", "answer"))
    first = np.append(grouped, np.uint64(0))[offsets[:-1]]
    more = rows.votes.astype(np.uint64) * np.uint64(2) + np.where(np.diff(offsets) > 0, first, np.uint64(0))
    found: dict[str, Hashes] = {}
    for salt, half in enumerate(("high", "low"), 1):
        asked = mixed_columns([mixed_lists(star, offsets, salt), *said], salt)
        answered = mixed_columns([asked, *answer], salt)
        alike = mixed_columns([answered, mixed_lists(key, offsets, salt)], salt)
        told = [*own, alike, more, mixed_lists(look, offsets, salt)]
        found |= {f"asked_{half}": asked, f"answered_{half}": answered, f"alike_{half}": alike}
        found[f"told_{half}"] = mixed_columns(told, salt)
    return found
