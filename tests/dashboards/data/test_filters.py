from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlencode

from hypothesis import given
from hypothesis import strategies as st

from dashboards.data.catalog import scan
from dashboards.data.filters import NEAR_MISSES, NO_BASE, ORDERS, OUTCOMES, FilterSpec, conditions, resolve_filters
from dashboards.data.predictions import STATUSES, Predictions

_text = st.text(max_size=20)
_several = st.lists(st.text(min_size=1, max_size=10), max_size=3).map(tuple)
specs = st.builds(
    FilterSpec,
    run=_text,
    base=_text,
    task=_text,
    question_types=_several,
    answer_types=_several,
    statuses=st.lists(st.sampled_from(STATUSES), max_size=3).map(tuple),
    marks=st.sampled_from([(), ("truncated",)]),
    where=st.lists(
        st.text(min_size=1, max_size=10) | st.sampled_from(["question_type=shape", "reference=yes"]), max_size=2
    ).map(tuple),
    near=st.lists(st.sampled_from(NEAR_MISSES), max_size=2).map(tuple),
    outcome=st.sampled_from(OUTCOMES),
    metric=_text,
    below=st.none() | st.floats(allow_nan=False),
    text=_text,
    order=st.sampled_from(ORDERS),
    expected=_several,
    answered=_several,
    expected_not=_several,
    answered_not=_several,
)
_TABLE = Predictions(
    "p.parquet",
    frozenset({"sample_id", "question", "raw", "extracted", "truncated", "slice_question_type"}),
    ("accuracy",),
    (("t'", "accuracy"),),
)


@given(specs)
def test_a_view_survives_the_url(spec: FilterSpec) -> None:
    url = urlencode(spec.to_parameters(), doseq=True)
    assert FilterSpec.from_parameters(parse_qs(url)) == spec


def test_defaults_are_left_out_of_the_url() -> None:
    assert FilterSpec().to_parameters() == {}


@given(
    st.dictionaries(
        st.sampled_from(["run", "outcome", "below", "sort", "status", "mark", "x"]), st.lists(_text, max_size=2)
    )
)
def test_any_url_gives_a_view(parameters: dict[str, list[str]]) -> None:
    spec = FilterSpec.from_parameters(parameters)
    assert spec.outcome in OUTCOMES and spec.order in ORDERS and set(spec.statuses) <= set(STATUSES)
    assert set(spec.marks) <= {"truncated"}


def _other_value(term: str) -> str:
    name, _, _ = term.partition("=")
    return f"{name}=x"


@given(specs)
def test_user_text_never_becomes_sql(spec: FilterSpec) -> None:
    """The SQL of a view is made of few fixed pieces: changing any text leaves it as it is."""
    other = FilterSpec(
        run="r", base="b", task="t" if spec.task else "", question_types=("q",) * bool(spec.question_types),
        answer_types=("a",) * bool(spec.answer_types),
        where=tuple(_other_value(term) for term in spec.where), statuses=("ok",) * bool(spec.statuses),
        marks=spec.marks,
        near=("plural",) * bool(spec.near), outcome=spec.outcome,
        metric="accuracy" if spec.metric == "accuracy" else "", below=0.5 if spec.below is not None else None,
        text="x" if spec.text else "", order=spec.order, expected=("e",) * bool(spec.expected),
        answered=("a",) * bool(spec.answered), expected_not=("n",) * bool(spec.expected_not),
        answered_not=("n",) * bool(spec.answered_not),
    )  # fmt: skip
    assert conditions(spec, _TABLE)[0] == conditions(other, _TABLE)[0]


def test_unknown_metric_and_missing_slice_column_are_ignored() -> None:
    where, values = conditions(FilterSpec(metric="1; DROP", below=0.5, answer_types=("x",), outcome="All"), _TABLE)
    assert (where, values) == ("true AND true", [])


def test_names_resolve_and_unknown_ones_fall_back(data: Path) -> None:
    catalog = scan(data)
    newest = catalog.finished("evals")[0].name
    other = catalog.finished("evals")[1].name
    view = resolve_filters(catalog, FilterSpec(run="nope", base="../x"))
    assert view and view.base and (view.run.name, view.base.name) == (newest, other)
    view = resolve_filters(catalog, FilterSpec(run=other, base=other))
    assert view and view.base and (view.run.name, view.base.name) == (other, newest)
    view = resolve_filters(catalog, FilterSpec(base=NO_BASE))
    assert view and view.base is None


def test_no_evaluation_no_view(tmp_path: Path) -> None:
    assert resolve_filters(scan(tmp_path), FilterSpec()) is None
