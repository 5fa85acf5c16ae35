"""Scores that nobody has validated are called so wherever they decide alone."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.recipe import Rule
from curate.report.card import rules_section
from curate.report.console import show_summary
from curate.rules.columns import known_columns
from curate.rules.decide import check_rules
from curate.rules.expression import parse_expression
from curate.workspace import Workspace

NAMES = ("a", "b", "c", "d")
LEAVES = st.sampled_from([f"{name} > 1" for name in NAMES])
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda parts: f"({' '.join(parts)})"),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None)
@given(CONDITIONS, st.sets(st.sampled_from(NAMES)))
def test_a_column_decides_alone_if_it_can_make_the_condition_true_without_the_others(text, scores):
    found = parse_expression(text, dict.fromkeys(NAMES, "DOUBLE"), "rule 'r'").decided_alone_by(scores)
    condition = text.lower().replace(" > 1", "")
    for name in NAMES:
        facts = {other: other not in scores or other == name for other in NAMES}
        without = holds(condition, {other: other not in scores for other in NAMES})
        # Where facts alone are enough, the condition may still have a way that needs the score.
        assert (name in found) == holds(condition, facts) or without


def holds(condition: str, values: dict[str, bool]) -> bool:
    return bool(eval(condition, {"__builtins__": {}}, values))  # noqa: S307 (made above)


def test_not_turns_and_into_or():
    columns = dict.fromkeys(NAMES, "DOUBLE")
    assert parse_expression("NOT (a > 1 AND b > 1)", columns, "r").decided_alone_by({"a", "b"}) == ("a", "b")
    assert parse_expression("NOT (a > 1 OR b > 1)", columns, "r").decided_alone_by({"a", "b"}) == ()
    wide = " AND ".join(f"({' OR '.join(f'{name} = {k}' for name in NAMES)})" for k in range(12))
    assert parse_expression(wide, columns, "r").decided_alone_by({"a", "b"}) == ("a", "b"), "beside facts"
    assert parse_expression(wide, columns, "r").decided_alone_by(NAMES) == NAMES


@pytest.mark.parametrize(
    ("rule", "unvalidated"),
    [
        ({"when": "nsfw > 0.8"}, ("nsfw",)),
        ({"when": "nsfw > 0.8 AND width > 100"}, ("nsfw",)),
        ({"when": "nsfw > 0.8 OR mine > 0.5"}, ("nsfw", "mine")),
        ({"when": "nsfw > 0.3 AND mine > 0.5"}, ()),
        ({"when": "width < 10"}, ()),
        ({"keep": "top 30% BY clip_alignment"}, ("clip_alignment",)),
        ({"when": "nsfw > 0.8", "validated": "400 of ours: 37 of 39 right"}, ()),
    ],
)
def test_a_rule_names_the_scores_that_decide_alone(rule, unvalidated):
    (checked,) = check_rules({"r": Rule(action="drop", **rule)}, ("mine",))
    assert checked.unvalidated == unvalidated
    card = rules_section([checked])
    named = ", ".join(f"<code>{name}</code>" for name in unvalidated)
    assert (f"**not validated**: {named}" in card) == bool(unvalidated)
    assert rule.get("validated", "") in card


def test_meanings_say_whether_a_column_is_validated():
    known = known_columns(("mine",))
    assert known["nsfw"].meaning.endswith("NOT VALIDATED") and known["mine"].meaning.endswith("NOT VALIDATED")
    assert known["width"].meaning == known["width"].about


@pytest.mark.parametrize(("action", "told"), [("drop", True), ("flag", False)])
def test_a_run_warns_of_drops_by_one_unvalidated_score(action, told, capsys, tmp_path):
    rule = {"rule": "nude", "action": action, "columns": ["nsfw"], "unvalidated": ["nsfw"], "fired": 3, "reason": 3,
            "alone": 3}  # fmt: skip
    counts = {"rows": 9, "keep": 6, "flag": 0, "drop": 3, "images": 9, "image_errors": [], "read": [], "splits": [],
              "contamination": [], "copies": [], "corrections": {}, "rules": [rule]}  # fmt: skip
    show_summary(counts, {}, Workspace(Path(tmp_path)), "my.yaml")
    assert (
        "rule nude drops by nsfw alone, which is not validated: look at its 3 rows" in capsys.readouterr().out
    ) == told
