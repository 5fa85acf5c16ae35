from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from winnow.errors import UserError
from winnow.recipe import StrictModel, load_recipe, parse_recipe


class Inner(StrictModel):
    radius: int = Field(default=4, ge=0)


class Recipe(StrictModel):
    name: str
    inner: Inner = Inner()

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.name == "both":
            raise ValueError("give one, not both")
        return self


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"nam": "x"}, "r.yaml: unknown key 'nam'; did you mean name?"),
        ({"name": "x", "inner": {"radios": 3}}, "r.yaml: unknown key 'inner.radios'; did you mean radius?"),
        ({"name": "x", "colour": 3}, "r.yaml: unknown key 'colour'; known: inner, name"),
        ({}, "r.yaml: key 'name' is missing"),
        ({"name": 3}, "r.yaml: name: Input should be a valid string (got 3)"),
        ({"name": "x", "inner": {"radius": -1}}, "r.yaml: inner.radius: .* greater than or equal to 0 (got -1)"),
        ({"name": "both"}, "r.yaml: recipe: give one, not both"),
        (
            {"name": "x", "inner": {"radius": 16**50_000}},
            "r.yaml: inner: radius: a whole number of more than 64 bits; give a smaller one",
        ),
    ],
)
def test_the_first_problem_in_one_sentence(values, said):
    with pytest.raises(UserError) as raised:
        parse_recipe(values, Recipe, "r.yaml")
    head, _, tail = said.partition(".*")
    assert str(raised.value).startswith(head) and str(raised.value).endswith(tail or head)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "not valid YAML"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("name: !!python/name:os.system x", "tags .* are not allowed"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, text, said):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        load_recipe(path, Recipe)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such recipe"):
        load_recipe(tmp_path / "none.yaml", Recipe)


class Renamed(StrictModel):
    RENAMED: ClassVar[dict[str, str]] = {"old_radius": "radius"}
    radius: int = 4


class Outer(StrictModel):
    part: Renamed = Renamed()


def test_a_former_key_is_refused_with_its_present_name():
    with pytest.raises(UserError, match=r"r\.yaml: key 'part\.old_radius' is now called 'radius'"):
        parse_recipe({"part": {"old_radius": 3}}, Outer, "r.yaml")
    with pytest.raises(UserError, match="unknown key 'old_radius'"):
        parse_recipe({"old_radius": 3}, Outer, "r.yaml")


class Texts(StrictModel):
    name: str
    out: Path | None = None
    form: Literal["on", "raw"] = "raw"
    answers: list[str] = Field(default_factory=list)
    parts: list[Inner | str] = Field(default_factory=list)
    limit: int | str = 0
    free: dict[str, Any] = Field(default_factory=dict)


def read_as(folder, text, model=Texts):
    path = folder / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, model)


def test_where_text_is_wanted_numbers_dates_and_yes_are_the_texts_of_the_file(tmp_path):
    found = read_as(
        tmp_path,
        "name: 0429\nout: 2024\nform: on\nanswers: [yes, no, 2.50, 2024-01-02, 1_000]\nparts: [{radius: 3}, 7]\n"
        "limit: 5\nfree: {top_k: 1, beam: yes}\n",
    )
    assert (found.name, found.out, found.form) == ("0429", Path("2024"), "on")
    assert found.answers == ["yes", "no", "2.50", "2024-01-02", "1_000"]
    assert found.parts == [Inner(radius=3), "7"]
    assert (found.limit, found.free) == (5, {"top_k": 1, "beam": True}), "a number stays one where one may be"


def test_an_empty_value_or_a_list_is_no_text(tmp_path):
    for value in ("", "null", "~", "[1]"):
        with pytest.raises(UserError, match=r"r\.yaml: name: Input should be a valid string"):
            read_as(tmp_path, f"name: {value}\n")


@given(st.text(alphabet="0123456789.eE+-:_nofyalxTZ", min_size=1, max_size=12).filter(lambda text: text[0] not in ":-"))
def test_a_plain_scalar_is_its_own_text(tmp_path_factory, text):
    assume(not text.endswith(":"))
    try:
        assume(not isinstance(yaml.safe_load(text), type(None)))
    except (ValueError, yaml.YAMLError):  # no such date, or the end of a document: see test_strict_yaml
        assume(False)
    assert read_as(tmp_path_factory.mktemp("plain"), f"name: {text}\n").name == text


def test_every_kind_of_recipe_takes_a_number_as_its_name(tmp_path):
    from curate.recipe import CurateRecipe
    from evalsuite.recipe import EvalRecipe
    from evalsuite.tasks.spec import load_spec
    from finetune.recipe import TrainRecipe

    curate = "name: 429\nsources: [{location: 7}]\n"
    train = "name: 429\nmodel: 5\ndata: 6\n"
    evaluate = "name: 429\nmodel: {path: 5}\ntasks: [2024-01-02]\n"
    for text, model in ((curate, CurateRecipe), (train, TrainRecipe), (evaluate, EvalRecipe)):
        assert read_as(tmp_path, text, model).name == "429"
    task = tmp_path / "t.yaml"
    task.write_text(
        "name: 1e3\nsource: {location: 12}\nextraction: {kind: choice, choices: [yes, no]}\nmetrics: [pope]\n"
    )
    spec = load_spec(str(task))
    assert (spec.name, spec.source.location, spec.extraction.choices) == ("1e3", "12", ["yes", "no"])
    task.write_text("name: 429\nbase: textvqa\nsource: {location: 13}\n")
    assert (load_spec(str(task)).name, load_spec(str(task)).source.location) == ("429", "13")
