"""Containers are streamed too: memory does not grow with their rows, and no image is held longer than its row."""

import gzip
import io
import json
import tarfile
import tracemalloc

import datasets
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.readers import open_source
from curate.readers.images.store import ImageStore, store_images
from curate.settings.sources import SourceSettings
from tests.curate.make_images import write
from winnow.rows.records import Sample

FEW, MANY = 100, 800
IMAGE = b"\xff\xd8\xff" + bytes(20_000)
PER_ROW = 60  # bytes a row, for ids that were derived from content
PER_LINE = 800  # bytes a line of a workbook, of which openpyxl keeps the emptied XML elements and its buffers


def shard(folder, rows):
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w") as packed:
        for number in range(rows):
            for name, data in ((f"{number:06}.jpg", IMAGE + bytes([number % 251])), (f"{number:06}.txt", b"a cat")):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                packed.addfile(info, io.BytesIO(data))
    return folder / "a.tar"


def parquet(folder, rows):
    folder.mkdir()
    schema = pa.schema([("image", pa.binary()), ("caption", pa.string())])
    with pq.ParquetWriter(folder / "a.parquet", schema, use_dictionary=False) as table:
        for number in range(0, rows, 50):
            images = [IMAGE + bytes([n % 251]) for n in range(number, number + 50)]
            table.write_table(pa.table({"image": images, "caption": ["a cat"] * 50}, schema))
    return folder / "a.parquet"


def coco(folder, rows):
    folder.mkdir()
    images = [{"id": n, "file_name": f"COCO_val2014_{n:012}.jpg", "height": 1, "width": 1} for n in range(rows)]
    captions = [{"id": n, "image_id": n % rows, "caption": f"a cat {n}"} for n in range(5 * rows)]
    path = folder / "captions_val2014.json"
    path.write_text(json.dumps({"images": images, "annotations": captions}))
    return path


def flickr(folder, rows):
    lines = (f"{number // 5}.jpg#{number % 5}\ta caption\n" for number in range(5 * rows))
    return write(folder / "results.token", "".join(lines).encode())


def metadata(folder, rows):
    lines = (json.dumps({"file_name": f"{number}.png", "text": "a drawing"}) + "\n" for number in range(rows))
    write(folder / "metadata.jsonl", "".join(lines).encode())
    return folder


def saved(folder, rows):
    made = ({"image": IMAGE + bytes([n % 251]), "caption": "a cat"} for n in range(rows))
    datasets.Dataset.from_list(list(made)).save_to_disk(folder)
    return folder


def packed_lines(folder, rows):
    folder.mkdir()
    lines = (json.dumps({"image": f"{n}.png", "caption": "a cat " * 100}) + "\n" for n in range(rows))
    return write(folder / "a.jsonl.gz", gzip.compress("".join(lines).encode()))


def western(folder, rows):
    lines = "".join(f"{n}.png,{'un café ' * 100}\n" for n in range(rows))
    return write(folder / "a.csv", f"image,caption\n{lines}".encode("cp1252"))


def nested(folder, rows):
    made = [{"image": f"{n}.png", "caption": "a cat " * 100} for n in range(rows)]
    return write(folder / "a.json", json.dumps({"info": {"n": rows}, "data": made}).encode())


def workbook(folder, rows):
    """The format itself keeps distinct texts in one table, so they are few here."""
    folder.mkdir()
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("a")
    for line in [["image", "caption"], *[["a.png", "a cat"]] * rows]:
        sheet.append(line)
    book.save(folder / "a.xlsx")
    return folder / "a.xlsx"


MAKERS = [shard, parquet, coco, flickr, metadata, saved, packed_lines, western, nested, workbook]


def peak_of(path, store):
    source = open_source(SourceSettings(location=str(path)))
    tracemalloc.start()
    try:
        rows = 0
        for row in store_images(source.rows(), ImageStore(store), max_bytes=10**6):
            assert isinstance(row, Sample)
            rows += 1
        return rows, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_memory_is_flat_in_rows(tmp_path, make, monkeypatch):
    monkeypatch.setattr("curate.readers.files.json_text.CHUNK", 1 << 14)
    monkeypatch.setattr("curate.readers.files.arrow._BATCH_BYTES", 1 << 18)
    monkeypatch.setattr("curate.readers.files.encoding._CHUNK", 1 << 14)
    few, many = make(tmp_path / "few", FEW), make(tmp_path / "many", MANY)
    peak_of(few, tmp_path / "store")  # imports
    (rows_few, small), (rows_many, large) = peak_of(few, tmp_path / "store"), peak_of(many, tmp_path / "store")
    assert (rows_few, rows_many) == (FEW, MANY)
    assert large - small < (PER_LINE if make is workbook else PER_ROW) * MANY + 100_000
