"""Groups, leaks and copies against pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dashboards.data.catalog import Folder, scan
from dashboards.data.duplicates import ORDERS, matches_of, page_of_groups


@pytest.fixture(scope="module")
def folder(small: Path) -> Folder:
    found = scan(small).find("curated", "small")
    assert found is not None
    return found


def test_groups_show_what_was_replaced(small: Path, folder: Folder) -> None:
    decisions = pd.read_parquet(small / "curated/small/decisions.parquet")
    replaced = decisions[decisions["representative"].notna()]
    for order in ORDERS:
        groups, total = page_of_groups(folder, order, 0, 10)
        assert total == replaced["duplicate_group"].nunique() == len(groups)
        ids = {row[0] for group in groups for member in group.members for row in member.replaced}
        assert ids == set(replaced["sample_id"])
        assert all(not group.members[0].replaced for group in groups), "the kept image comes first"
    assert page_of_groups(folder, ORDERS[0], 5, 10) == ([], 0)


def test_leaks_are_found_by_image_for_every_question_about_it(data: Path) -> None:
    folder = scan(data).find("curated", "demo")
    assert folder
    test = pd.read_parquet(data / "evals" / "demo-tuned" / "predictions.parquet")
    for _, row in test.iterrows():
        found = matches_of(folder, row["sample_id"], tuple(row["image_keys"]))
        leaked = row["image_keys"][0] == test["image_keys"][0][0]
        assert found.leak_count == len(found.leaks) == (4 if leaked else 0)
        assert found.checked and found.copies == ()
    found = matches_of(folder, "easy_vqa/test/0", tuple(test["image_keys"][0]))
    assert [match.sample_id for match in found.leaks] == [f"easy_vqa/train/{number}" for number in (25, 12, 38, 51)]
    first = found.leaks[0]
    assert (first.decision, first.distance, first.hamming, first.same_question) == ("drop", 1.5, 2, True)


def test_copies_are_rows_that_name_the_row_as_related(own: Path) -> None:
    (own / "curated" / "demo" / "contamination.parquet").unlink()
    found = scan(own).find("curated", "demo")
    assert found
    matches = matches_of(found, "easy_vqa/test/0", ("0" * 64,))
    assert not matches.checked and matches.leaks == () and matches.copy_count == 4
    assert [match.sample_id for match in matches.copies] == [f"easy_vqa/train/{number}" for number in (12, 25, 38, 51)]
    assert matches_of(found, "easy_vqa/test/1", ()).copies == ()
