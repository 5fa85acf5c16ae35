from typing import ClassVar, Self

import pytest
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
