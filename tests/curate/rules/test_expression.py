"""Conditions: what may stand in one, and that nothing else gets through."""

import pytest

from curate.rules.expression import parse_expression
from winnow.errors import UserError

COLUMNS = {
    "sharpness": "DOUBLE",
    "entropy": "DOUBLE",
    "error": "VARCHAR",
    "refusal": "BOOLEAN",
    "question": "VARCHAR",
    "width": "INTEGER",
}


def parse(text):
    return parse_expression(text, COLUMNS, "rule 'r'")


@pytest.mark.parametrize(
    ("text", "columns", "thresholds"),
    [
        ("sharpness < 35 AND entropy > 3", ("sharpness", "entropy"), ("sharpness < 35", "entropy > 3")),
        ("error IS NOT NULL", ("error",), ()),
        ("error IN ('empty', 'missing') OR refusal", ("error", "refusal"), ("error IN ('empty', 'missing')",)),
        ("sharpness BETWEEN 1 AND 2", ("sharpness",), ("sharpness BETWEEN 1 AND 2",)),
        ("NOT refusal", ("refusal",), ()),
        ("question LIKE '%50\\%%' ESCAPE '\\'", ("question",), ("question LIKE '%50\\%%' ESCAPE '\\'",)),
        (
            "question ILIKE 'a%' OR question SIMILAR TO 'b.*' OR question GLOB 'c*'",
            ("question",),
            ("question ILIKE 'a%'", "question SIMILAR TO 'b.*'", "question GLOB 'c*'"),
        ),
        ("coalesce(sharpness, 0) / greatest(width, 1) < 0.5", ("sharpness", "width"), None),
        ("CASE WHEN width > 9 THEN sharpness < 2 ELSE false END", ("width", "sharpness"), None),
        ("sharpness::INTEGER % 2 = 0", ("sharpness",), None),
        ("question = 'it''s -- no; comment'", ("question",), None),
        ("length(question) > 3 -- a comment", ("question",), None),
        ('"sharpness" < 1', ("sharpness",), None),
        ("true", (), ()),
    ],
)
def test_allowed(text, columns, thresholds):
    found = parse(text)
    assert found.columns == columns
    if thresholds is not None:
        assert found.thresholds == thresholds
    assert parse(found.sql).columns == columns, "what runs must be a condition itself"


@pytest.mark.parametrize(
    "text",
    [
        "read_text('/etc/passwd') = 'x'",
        "(SELECT count(*) FROM read_csv('/etc/passwd')) > 0",
        "EXISTS (SELECT 1)",
        "sharpness IN (SELECT 1)",
        "sharpness = ANY (SELECT 1)",
        "1) FROM read_csv('/etc/passwd') --",
        "true) UNION SELECT (true",
        "true; COPY (SELECT 1) TO '/tmp/x'",
        "true; SET enable_external_access = true",
        "true)); ATTACH '/tmp/x.db' AS (y",
        "PRAGMA version",
        "COPY facts TO '/tmp/x'",
        "getenv('HOME') = 'x'",
        "current_setting('threads') = '1'",
        "query('SELECT 1') = 1",
        "count(*) > 1",
        "sum(sharpness) > 1",
        "row_number() OVER () > 1",
        "random() < 0.5",
        "nextval('s') = 1",
        "list_filter([1], lambda x: true) IS NULL",
        "COLUMNS('.*') > 1",
        "* IS NULL",
        "? > 1",
        "$1 > 1",
        "sharpness < 1 ORDER BY 1",
        "sharpness < 1 LIMIT 1",
        "sharpness < 1, true",
        "true AS fired",
        "main.abs(sharpness) > 1",
        "sharpness < 1 WHERE true",
        "sharpness < quantile(sharpness, 2)",
        "sharpness < quantile(sharpness)",
        "sharpness < quantile(question, 0.5)",
        "sharpness < quantile(sharpness, width)",
        "sharpness < quantile(DISTINCT sharpness, 0.5)",
        "sharpness < quantile((SELECT 1), 0.5)",
        "sharpness < quantile(sharpness, 0.5) OVER ()",
        'sharpness < "quantile(sharpness, x)"',
        "meta.a < read_text('/etc/passwd')",
        "meta.* IS NULL",
        "NOT " * 900 + "refusal",
        "error COLLATE nocase = 'x'",
        "\0",
        "",
        "   ",
        "(" * 2000 + "true" + ")" * 2000,
        "sharpness < 1 " * 2000,
    ],
)
def test_refused(text):
    with pytest.raises(UserError, match=r"^rule 'r': "):
        parse(text)


def test_an_unknown_column_names_near_ones():
    with pytest.raises(UserError, match=r"unknown column 'sharpnes'; did you mean sharpness\?"):
        parse("sharpnes < 3")
    with pytest.raises(UserError, match="unknown column 'zzz'; known: sharpness, entropy"):
        parse("zzz < 3")
    with pytest.raises(UserError, match=r"unknown column 'facts\.sharpness'"):
        parse("facts.sharpness < 3")


@pytest.mark.parametrize(("text", "kind"), [("sharpness", "DOUBLE"), ("sharpness + 1", "DOUBLE"), ("NULL", "")])
def test_a_condition_is_true_or_false(text, kind):
    with pytest.raises(UserError, match=f"must be true or false.*of type .*{kind}"):
        parse(text)


def test_types_that_cannot_be_compared():
    with pytest.raises(UserError, match="rule 'r': "):
        parse("refusal > 'abc' + 1")
