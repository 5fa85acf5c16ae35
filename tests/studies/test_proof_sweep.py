"""What the sweep says curation took."""

import pyarrow as pa
import pyarrow.parquet as pq

from studies.curation_pays.comparison import dropped_rows
from studies.curation_pays.sets import RawSet, TrainingSet


def test_an_original_is_lost_only_if_its_copy_went_too(tmp_path):
    truth = [("dup-1", "near_duplicate", "1"), ("dup-2", "near_duplicate", "2"), ("3", "wrong_answer", None)]
    pq.write_table(
        pa.table(dict(zip(("sample_id", "defect", "twin_id"), zip(*truth, strict=True), strict=True))),
        tmp_path / "truth.parquet",
    )
    decisions = [
        ("1", "drop", "duplicate", "dup-1"),  # its larger copy stands for it
        ("dup-1", "keep", None, None),
        ("2", "drop", "duplicate", "dup-2"),  # gone with its copy
        ("dup-2", "drop", "blurry", None),
        ("3", "drop", "misaligned", None),
        ("4", "drop", "misaligned", None),  # has no defect
        ("5", "keep", None, None),
    ]
    columns = ("sample_id", "decision", "reason", "representative")
    (tmp_path / "curated").mkdir()
    pq.write_table(
        pa.table(dict(zip(columns, zip(*decisions, strict=True), strict=True))), tmp_path / "curated/decisions.parquet"
    )
    assert dropped_rows(RawSet(tmp_path), TrainingSet(tmp_path / "curated", None, "")) == {
        "rows": 7, "affected": 3, "dropped": 5, "dropped_without_defect": 2, "gone_with_their_twin": 1,
    }  # fmt: skip
