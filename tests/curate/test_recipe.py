"""What a curation recipe accepts, and what it says about keys that have been renamed."""

import pytest

from curate.recipe import CurateRecipe, read_recipe
from winnow.errors import UserError
from winnow.recipe import parse_recipe

SOURCES = [{"location": "rows.jsonl"}]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("confirm", "max_mean_diff"),
        ("confirm_cell", "max_cell_diff"),
        ("confirm_contrast", "max_contrast_diff"),
    ],
)
@pytest.mark.parametrize("section", [{"duplicates": {}}, {"contamination": {"against": SOURCES}}])
def test_a_renamed_key_of_a_match_is_refused_with_its_new_name(section, old, new):
    (name, values), *_ = section.items()
    recipe = {"name": "set", "sources": SOURCES, name: {**values, old: 3.0}}
    with pytest.raises(UserError, match=f"key '{name}.{old}' is now called '{new}'"):
        parse_recipe(recipe, CurateRecipe, "r.yaml")
    parse_recipe({**recipe, name: {**values, new: 3.0}}, CurateRecipe, "r.yaml")


def test_results_may_lie_on_object_storage_and_other_paths_may_not():
    values = {"name": "set", "sources": [{"location": "x"}], "out": "s3://bucket/set/"}
    assert parse_recipe(values, CurateRecipe, where="r").model_dump(mode="json")["out"] == "s3://bucket/set"
    with pytest.raises(UserError, match=r"corrections: s3://bucket/fixes is on object storage; give a path of this"):
        parse_recipe({**values, "corrections": "s3://bucket/fixes"}, CurateRecipe, where="r")
    with pytest.raises(UserError, match=r"out: .*holds a password") as caught:
        parse_recipe({**values, "out": "s3://KEY:PaSsWoRd@bucket/set"}, CurateRecipe, where="r")
    assert "PaSsWoRd" not in str(caught.value)


def test_workers_that_no_machine_has_are_refused(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: x\nsources: [{location: a.jsonl}]\nsignals: {workers: 1000000000000}\n")
    with pytest.raises(UserError, match=r"signals.workers: Input should be less than or equal to 1024"):
        read_recipe(recipe)
