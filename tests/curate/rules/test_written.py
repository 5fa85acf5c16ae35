"""A threshold in the ledger reads as its author wrote it."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.rules.written import written_comparisons


@pytest.mark.parametrize(
    ("condition", "written"),
    [
        ("error NOT IN ('empty', 'missing')", ["error NOT IN ('empty', 'missing')"]),
        ("width NOT BETWEEN 1 AND 2 and x<3", ["width NOT BETWEEN 1 AND 2", "x<3"]),
        ("NOT width between 1 and 2 or not (a  =  3 )", ["NOT width between 1 and 2", "not (a = 3 )"]),
        ("question NOT LIKE '%!%' AND contains(answer, 'a')", ["question NOT LIKE '%!%'", "contains(answer, 'a')"]),
        ("((a < 3) AND ((b >= 4)))", ["a < 3", "b >= 4"]),
        ("(a + 1) * (b) < 3", ["(a + 1) * (b) < 3"]),
        ("NOT (a < 1 OR b > 2)", ["a < 1", "b > 2"]),
        ("CASE WHEN a > 9 AND b THEN c < 2 ELSE false END OR d",
         ["CASE WHEN a > 9 AND b THEN c < 2 ELSE false END"]),
        ("'it''s  AND (' = q OR \"b AND\" = 'ö' AND x < 1", ["'it''s  AND (' = q", "\"b AND\" = 'ö'", "x < 1"]),
        ("a\n  < -- why\n  3 /* so */ AND b", ["a < 3"]),
        ("a <> 3 AND b != 2", ["a <> 3", "b != 2"]),
        ("error IS NOT NULL AND NOT refusal OR true", []),
    ],
)  # fmt: skip
def test_comparisons_are_quoted(condition, written):
    assert written_comparisons(condition) == tuple(written)


LEAVES = st.sampled_from(
    ["a < 3", "b NOT IN (1, 2)", "c NOT BETWEEN 1 AND 2", "d LIKE '% AND %'", "abs(a) >= 2", "e = 'OR (' "]
)
TREES = st.recursive(
    LEAVES.map(lambda leaf: (leaf, [leaf.strip()])),
    lambda inner: st.tuples(inner, st.sampled_from([" AND ", " or "]), inner).map(
        lambda parts: (f"({parts[0][0]}){parts[1]}({parts[2][0]})", [*parts[0][1], *parts[2][1]])
    ),
    max_leaves=6,
)


@given(TREES)
def test_every_comparison_of_a_tree_is_found_in_order(tree):
    condition, leaves = tree
    duckdb.sql(f"SELECT json_serialize_sql($$SELECT {condition}$$)")  # it is a condition
    assert written_comparisons(condition) == tuple(leaves)
