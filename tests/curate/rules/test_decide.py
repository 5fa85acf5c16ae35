"""Decisions over stored signals: worst image, nulls, order of reasons, forced rows; and a connection that is shut."""

import contextlib
import json
import os

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import pipeline
from curate.measure.texts import TEXT_SCHEMA as TEXT
from curate.recipe import Rule, all_rules
from curate.rules.columns import column_types, known_columns
from curate.rules.connection import lock, time_limit
from curate.rules.decide import check_rules, decide
from curate.rules.judged import Judging
from tests.curate import sets
from tests.curate.stored import image, sample, store
from winnow.errors import UserError


def decisions(space, rules, losses=()):
    named = {name: Rule(when=when, action=action) for name, (when, action) in rules.items()}
    decide(space, check_rules(named), losses)
    return {row["sample_id"]: row for row in pq.read_table(space.decisions).to_pylist()}


def fired(row):
    return [one["rule"] for one in row["rules"]]


RULES = {
    "unreadable": ("error IS NOT NULL", "drop"),
    "small": ("width < 32", "drop"),
    "soft": ("sharpness < 35 AND entropy > 3", "flag"),
}


def test_every_fired_rule_is_on_record_and_the_first_drop_is_the_reason(tmp_path):
    images = [image("a", width=10, sharpness=20.0, entropy=4.0), image("b", sharpness=20.0, entropy=4.0), image("c")]
    rows = [sample("1", ["a"]), sample("2", ["b"]), sample("3", ["c"])]
    found = decisions(store(tmp_path, rows, images), RULES)
    assert [found[one]["decision"] for one in "123"] == ["drop", "flag", "keep"]
    assert [found[one]["reason"] for one in "123"] == ["small", None, None]
    assert fired(found["1"]) == ["small", "soft"]
    assert found["3"]["rules"] == []
    soft = found["2"]["rules"][0]
    assert soft["action"] == "flag"
    assert soft["expression"] == "sharpness < 35 AND entropy > 3"
    assert soft["threshold"] == "sharpness < 35; entropy > 3"
    assert json.loads(soft["values"]) == {"sharpness": 20.0, "entropy": 4.0}
    assert soft["related_row"] is None


def test_a_flagging_rule_before_a_dropping_one_is_not_the_reason(tmp_path):
    rules = {"first": ("width = 64", "flag"), "second": ("height = 64", "drop")}
    found = decisions(store(tmp_path, [sample("1", ["a"])], [image("a")]), rules)["1"]
    assert (found["decision"], found["reason"], fired(found)) == ("drop", "second", ["first", "second"])


def test_the_worst_image_speaks_and_its_values_are_recorded(tmp_path):
    images = [image("a", sharpness=90.0, entropy=5.0), image("b", sharpness=10.0, entropy=5.0)]
    rows = [sample("good", ["a", "a"]), sample("bad", ["a", "b"]), sample("text", [])]
    found = decisions(store(tmp_path, rows, images), RULES)
    assert found["good"]["decision"] == "keep"
    assert found["bad"]["decision"] == "flag"
    assert json.loads(found["bad"]["rules"][0]["values"])["sharpness"] == 10.0
    assert found["text"]["decision"] == "keep"


def test_no_rule_mixes_two_images(tmp_path):
    images = [image("a", sharpness=10.0, entropy=1.0), image("b", sharpness=90.0, entropy=9.0)]
    found = decisions(store(tmp_path, [sample("1", ["a", "b"])], images), RULES)
    assert found["1"]["decision"] == "keep"


def test_missing_signals_do_not_fire_even_negated(tmp_path):
    rules = {"a": ("sharpness < 35", "drop"), "b": ("NOT (sharpness < 35)", "drop"), "c": ("sharpness IS NULL", "flag")}
    found = decisions(store(tmp_path, [sample("1", ["a"])], [image("a", sharpness=None)]), rules)["1"]
    assert fired(found) == ["c"]


def test_the_class_of_a_missing_file_is_known(tmp_path):
    space = store(tmp_path, [sample("1", ["a", "gone"])], [image("a")], errors={"gone.png": "missing"})
    found = decisions(space, RULES)["1"]
    assert found["reason"] == "unreadable"
    assert json.loads(found["rules"][0]["values"]) == {"error": "missing"}


def test_text_row_and_loss_columns_mix_with_image_columns(tmp_path):
    rows = [
        sample("1", ["a"], answers=["x", "y"], text={"agreement": 0.5}),
        sample("2", ["a"], question="Is it?", question_type="yes_no", text={"agreement": 1.0}),
    ]
    losses = tmp_path / "losses.parquet"
    steps = [("1", 0, 0, 9.0), ("1", 0, 1, 3.0), ("1", 1, 0, 2.0), ("2", 0, 1, 7.0)]
    columns = [pa.array(column) for column in zip(*steps, strict=True)]
    pq.write_table(pa.table(columns, names=["sample_id", "stage", "epoch", "loss"]), losses)
    rules = {
        "torn": ("agreement < 0.6 AND votes = 2 AND width = 64", "flag"),
        "hard": ("train_loss > 5 AND question_type = 'yes_no'", "drop"),
        "easy": ("train_loss = 2 AND source = 'set'", "flag"),
    }
    found = decisions(store(tmp_path / "set", rows, [image("a")]), rules, [losses])
    assert fired(found["1"]) == ["torn", "easy"], "the last epoch of the last stage counts"
    assert fired(found["2"]) == ["hard"]


def test_reviewers_override_rules_which_stay_on_record(tmp_path):
    note = json.dumps({"corrections": ["c1"]})
    rows = [
        sample("kept", ["a"], forced="keep", forced_by=note),
        sample("dropped", ["b"], forced="drop", forced_by=note),
        sample("marked", ["b"], forced="flag", forced_by=note),
    ]
    found = decisions(store(tmp_path, rows, [image("a", width=8), image("b")]), RULES)
    assert [(row["decision"], row["reason"]) for row in found.values()] == [
        ("keep", None),
        ("drop", "correction"),
        ("flag", None),
    ]
    assert fired(found["kept"]) == ["small", "correction"]
    assert json.loads(found["dropped"]["rules"][0]["values"]) == {"corrections": ["c1"]}


@pytest.mark.slow
def test_decisions_are_in_input_order_for_many_rows(tmp_path):
    rows = [sample(f"{number:05d}", ["a" if number % 3 else "b"]) for number in range(40_000)]
    space = store(tmp_path, rows, [image("a"), image("b", width=5)])
    decide(space, check_rules({"small": Rule(when="width < 32", action="drop")}))
    table = pq.read_table(space.decisions)
    assert table.column("position").to_pylist() == list(range(40_000))
    assert table.column("sample_id").to_pylist() == [row["sample_id"] for row in rows]
    assert [one == "drop" for one in table.column("decision").to_pylist()] == [n % 3 == 0 for n in range(40_000)]
    first = space.decisions.read_bytes()
    decide(space, check_rules({"small": Rule(when="width < 32", action="drop")}))
    assert space.decisions.read_bytes() == first


def test_the_connection_is_shut_when_rules_run(tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with opened(tmp_path) as connection:
        for attack in (
            f"SELECT * FROM read_csv('{secret}')",
            f"SELECT * FROM '{secret}'",
            f"COPY facts TO '{tmp_path}/stolen.csv'",
            f"ATTACH '{tmp_path}/stolen.db'",
            "SET enable_external_access = true",
            "INSTALL httpfs",
            "LOAD httpfs",
            "SET memory_limit = '1GB'",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(attack)
        assert connection.execute("SELECT count(*) FROM facts").fetchone() == (1,)
    assert not list(tmp_path.glob("stolen*"))


def test_values_that_cannot_be_compared_are_an_error_of_the_user(tmp_path):
    space = store(tmp_path, [sample("1", ["a"], question="abc")], [image("a")])
    with pytest.raises(UserError, match="cannot be evaluated"):
        decisions(space, {"odd": ("question::INTEGER > 3", "drop")})
    assert not space.decisions.exists()


def test_rules_of_sections_can_be_replaced():
    recipe = sets.recipe(sets.Path("x"), duplicates={}, contamination={"against": [{"location": "y"}]})
    assert list(all_rules(recipe)) == [
        "bad_row", *sets.RULES, "contaminated", "leak_suspected", "contaminated_text", "conflicting", "duplicate",
        "edited_copy",
    ]  # fmt: skip
    own = {"duplicate": {"when": "duplicate AND votes = 0", "action": "flag"}, **sets.RULES}
    recipe = sets.recipe(sets.Path("x"), duplicates={}, rules=own)
    assert list(all_rules(recipe)) == ["bad_row", "duplicate", *sets.RULES, "conflicting", "edited_copy"]
    assert all_rules(recipe)["duplicate"].action == "flag"


@pytest.mark.slow
def test_every_known_column_has_a_meaning_and_can_be_asked(tmp_path):
    of_texts = {name for name, column in known_columns().items() if column.table == "text"}
    assert of_texts == {field.name for field in TEXT} - {"sample_id", "clip_alignments"}
    assert not [name for name, column in known_columns().items() if not column.about]
    space = store(tmp_path, [sample("1", ["a"])], [image("a")])
    found = decisions(space, {name: (f'"{name}" IS NULL', "flag") for name in column_types()})["1"]
    assert "train_loss" in fired(found)
    assert "width" not in fired(found)


@contextlib.contextmanager
def opened(tmp_path):
    """The connection in which rules run, on one row."""
    space = store(tmp_path / "set", [sample("1", ["a"])], [image("a")])
    with Judging(space, ["width"], []) as judging, judging.facts() as connection:
        yield connection


@pytest.mark.parametrize(
    "attack",
    [
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH ':memory:' AS other; COPY facts TO '{folder}/stolen.csv'",
        "ATTACH '{folder}/stolen.db'",
        "EXPORT DATABASE '{folder}/stolen'",
        "IMPORT DATABASE '{folder}'",
        "COPY facts FROM '{folder}/secret.csv'",
        "SELECT * FROM read_text('{folder}/secret.csv')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM parquet_metadata('{folder}/secret.csv')",
        "SELECT * FROM sniff_csv('{folder}/secret.csv')",
        "SELECT * FROM 'https://example.invalid/x.parquet'",
        "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')",
        "SET memory_limit = '1TB'",
        "SET temp_directory = '{folder}'",
        "SET allowed_directories = ['/']",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET lock_configuration",
        "PRAGMA enable_profiling; PRAGMA profiling_output = '{folder}/stolen.json'",
        "SET log_query_path = '{folder}/stolen.log'",
        "SET extension_directory = '{folder}'",
        "SET home_directory = '{folder}'",
    ],
)
def test_even_a_whole_statement_could_do_nothing(tmp_path, attack):
    """The expressions are checked; this is what stands behind them."""
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with opened(tmp_path) as connection, pytest.raises(duckdb.Error):
        for statement in attack.format(folder=tmp_path).split("; "):
            connection.execute(statement)
    assert not list(tmp_path.glob("stolen*"))


def test_limits_of_memory_and_time(tmp_path):
    with opened(tmp_path) as connection:
        limit = connection.execute("SELECT current_setting('memory_limit')").fetchone()[0]
        number, unit = limit.split()
        assert 0 < float(number) * {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}[unit] <= (os.cpu_count() + 8) * 2**26
        assert str(tmp_path) in connection.execute("SELECT current_setting('temp_directory')").fetchone()[0]
        with pytest.raises(UserError, match=r"longer than 0 s; simplify"), time_limit(connection, 0.05):
            connection.execute("SELECT sum(a.range * b.range % 7) FROM range(10000000) a, range(10000000) b")
        assert connection.execute("SELECT 1").fetchone() == (1,), "the connection lives on"
    with duckdb.connect() as small:
        small.execute("SET memory_limit = '50MB'; SET temp_directory = ''; SET lock_configuration = true")
        with pytest.raises(duckdb.OutOfMemoryException):
            small.execute("SELECT list(range) FROM range(100000000)")
    with duckdb.connect() as again:
        lock(again)
        with pytest.raises(duckdb.Error):
            lock(again)


@pytest.mark.parametrize(
    "condition",
    [
        "width * 9223372036854775807 * 9223372036854775807 > 0",
        "regexp_matches(question, '(')",
        "regexp_matches(question, '(((a{1000}){1000}){1000}){1000}')",
        "question::DATE > '2020-01-01'::DATE",
        "width::TINYINT = 64 AND bytes::TINYINT = 1000 % 0 + 1000",
    ],
)
def test_conditions_that_fail_while_they_run(tmp_path, condition):
    rows = [sample("1", ["a"], question="why (" + "a" * 50)]
    space = store(tmp_path, rows, [image("a", bytes=10**9)])
    with pytest.raises(UserError, match=r"rule 'odd'|the rules cannot be evaluated"):
        decisions(space, {"odd": (condition, "drop")})
    assert not space.decisions.exists()


@pytest.mark.parametrize(
    "condition", ["1 / (width - 64) > 0", "sqrt(-width) > 0", "ln(width - 64) < 0", "width % 0 = 1"]
)
def test_conditions_without_a_value_do_not_fire_or_are_told(tmp_path, condition):
    space = store(tmp_path, [sample("1", ["a"])], [image("a")])
    try:
        found = decisions(space, {"odd": (condition, "drop")})["1"]
    except UserError as error:
        assert "cannot be evaluated" in str(error)
        return
    for one in found["rules"]:
        json.loads(one["values"])


def test_evil_regular_expressions_take_no_time(tmp_path):
    """Backtracking engines need 2^n steps for this one."""
    space = store(tmp_path, [sample("1", ["a"], question="a" * 5000 + "!")], [image("a")])
    found = decisions(space, {"evil": ("regexp_matches(question, '^(a+)+$')", "drop")})["1"]
    assert found["decision"] == "keep"


def test_a_value_that_is_no_number_is_null_in_the_ledger(tmp_path):
    sets.save(tmp_path / "images/0.png", sets.scene(0))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(0, "0.png")])
    losses = tmp_path / "losses.parquet"
    pq.write_table(pa.table({"sample_id": ["set/train/0"], "stage": [0], "epoch": [0], "loss": [float("nan")]}), losses)
    rules = {"odd": {"when": "train_loss > 1", "action": "flag"}}
    pipeline.run(sets.recipe(tmp_path, rules=rules, losses=[str(losses)]), "recipe.yaml")
    (line,) = (tmp_path / "out/ledger.jsonl").read_text().splitlines()
    found = json.loads(line, parse_constant=lambda text: pytest.fail(text))
    assert found["rules"][0]["values"] == {"train_loss": None}
