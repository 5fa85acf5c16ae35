"""Tables in parts as tests write them: one part."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.readers.rows import batches_of, row_of
from curate.rules.corrected import make_corrected
from winnow.parquet.table_parts import Parts
from winnow.parquet.tables import write_parquet


def put(parts: Parts, table: pa.Table) -> Parts:
    """Make ``table`` the only part."""
    parts.folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, parts.folder / "all.parquet")
    parts.finish(["all.parquet"])
    return parts


def corrected_of(samples, folder: Path, keys=None) -> Parts:
    """Samples as corrected rows; ``keys`` are those of their images by path."""
    samples, parts = list(samples), Parts(folder)
    read = folder.with_name(f"{folder.name}-read.parquet")
    batches = list(batches_of(map(row_of, samples)))
    write_parquet(read, batches, batches[0].schema)
    found = pa.array([(keys or {}).get(path) for sample in samples for path in sample.image], pa.string())
    make_corrected((folder / "all.parquet", (read, found, {})))
    parts.finish(["all.parquet"])
    return parts
