"""A measured set written by hand: rows and signals as Parquet, no image decoded."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.duplicates.comparable import read_comparable
from curate.duplicates.kept import choose_kept
from curate.duplicates.repeated import write_repeated
from curate.measure.store import image_schema
from curate.measure.texts import TEXT_SCHEMA as TEXT
from curate.rules.corrected import CORRECTED
from curate.views import create_views
from curate.workspace import Workspace
from tests.curate.one_part import put
from winnow.corrections import content_hash
from winnow.files import digest_of
from winnow.parquet.tables import write_parquet
from winnow.rows.keys import answer_key, context_key, question_key


def image(key, **more):
    """Signals of one image; hashes and thumbnail differ from key to key unless given."""
    number = int.from_bytes(key.encode(), "little")
    values = {
        "image_key": key,
        "path": f"{key}.png",
        "bytes": 100,
        "format": "PNG",
        "width": 64,
        "height": 64,
        "phash": (number * 0x9E3779B97F4A7C15) % 2**64,
        "dhash": (number * 0xC2B2AE3D27D4EB4F) % 2**64,
        "thumbnail": bytes([number * 31 % 256]) * 768,
    }
    return {**values, **more}


def sample(own_id, images, question="What is it?", answer="a cat", answers=(), meta=None, before=(), **more):
    """One row; ``images`` are keys, ``before`` turns before the question."""
    record = {
        "id": own_id,
        "image": [f"{key}.png" for key in images],
        "conversations": [*before, {"from": "user", "value": question}, {"from": "assistant", "value": answer}],
        "answers": list(answers),
        "meta": meta or {},
    }
    values = {
        "sample_id": own_id,
        "source": "set",
        "split": "train",
        "images": record["image"],
        "question": question,
        "answer": answer,
        "answers": record["answers"],
        "record": json.dumps(record),
        "question_key": question_key(record),
        "answer_key": answer_key(record),
        "context_key": context_key(record),
        "text": {"answer_words": len(answer.split())},
    }
    return {**values, **more}


def store(folder: Path, samples, images, errors=None) -> Workspace:
    """Write a workspace as it is after measuring.

    Args:
        errors: path → preflight class; such a path has no image key.
    """
    space = Workspace(folder)
    errors = errors or {}
    by_path = {one["path"]: one["image_key"] for one in images}
    rows, texts = [], []
    for one in samples:
        values = {**one}
        texts.append({"sample_id": one["sample_id"], **values.pop("text")})
        values["image_keys"] = [by_path.get(path) for path in one["images"]]
        values["content_hash"] = content_hash(values["image_keys"], json.loads(one["record"]))
        rows.append(values)
    paths = [{"path": path, "image_key": key, "error": None} for path, key in by_path.items() if path not in errors]
    paths += [{"path": path, "image_key": None, "error": error} for path, error in errors.items()]
    path_schema = pa.schema([(name, pa.string()) for name in ("path", "image_key", "error", "error_detail")])
    put(space.corrected, pa.Table.from_pylist(rows, CORRECTED))
    put(space.text, pa.Table.from_pylist(texts, TEXT))
    for target, table, schema in (
        (space.paths, paths, path_schema),
        (space.signals / "part-00000.parquet", images, image_schema(None, {})),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(table, schema), target)
    return space


def put_parts(space: Workspace, parts) -> None:
    """Make tables of corrected rows the parts of the set, named by what they hold."""
    space.corrected.folder.mkdir(parents=True, exist_ok=True)
    names = []
    for table in parts:
        names.append(f"{digest_of(table.to_pylist())}.parquet")
        write_parquet(space.corrected.folder / names[-1], [table], CORRECTED)
    space.corrected.finish(names)


def choose(space: Workspace, settings, dropped=()) -> None:
    """Write the duplicate rows of a workspace in which other rules drop the rows at these positions."""
    rows = read_comparable(space.comparable_rows)
    gone = np.isin(rows.position, list(dropped))
    with duckdb.connect() as connection:
        write_repeated(connection, space, rows, choose_kept(connection, space, rows, settings, gone, gone))


def repeated(space: Workspace) -> list[dict]:
    """The duplicate rows of a workspace."""
    with duckdb.connect() as connection:
        create_views(connection, space)
        return connection.sql("SELECT * FROM duplicates ORDER BY position").to_arrow_table().to_pylist()


def changed(parts, chance, new):
    """The parts of some rows after a random edit; ``new`` gives rows to add."""
    parts = [list(rows) for rows in parts]
    rows = chance.choice(parts)
    place = chance.randrange(len(rows) or 1)
    match chance.choice(["append", "insert", "change", "remove", "move", "add part", "remove part", "turn round"]):
        case "append":
            rows.append(next(new))
        case "insert":
            rows.insert(place, next(new))
        case "change":
            rows[place : place + 1] = [next(new)]
        case "remove":
            del rows[place : place + 1]
        case "move":
            chance.choice(parts).extend(rows[:1])
            del rows[:1]
        case "add part":
            parts.insert(chance.randrange(len(parts)), [next(new) for _ in range(9)])
        case "remove part" if len(parts) > 2:
            parts.remove(rows)
        case _:
            rows.reverse()
    return parts
