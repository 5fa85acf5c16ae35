"""Arrow beside pandas."""

import subprocess
import sys

_CODE = """
import sys
import pyarrow as pa
from winnow.parquet.tables import look_for_no_pandas
look_for_no_pandas()
table = pa.table({"a": pa.array([1.5, None])})
assert "pandas" not in sys.modules, "imported for an array"
assert table.to_pandas()["a"].isna().tolist() == [False, True]
import pandas as pd
assert pa.array(pd.Series([1.0, float("nan")])).null_count == 1, "a series is known as one"
"""


def test_arrow_makes_arrays_without_pandas_and_frames_with_it():
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
