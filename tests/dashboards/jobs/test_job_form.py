from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from curate.inputs import resolved
from curate.recipe import CurateRecipe
from dashboards.data.catalog import Folder, Kind
from dashboards.jobs.fields import Field, fields_of, leaves, sections
from dashboards.jobs.form import Entries, Entry, entries_of, values_of_entries
from dashboards.jobs.recipe_text import text_of, value_of, values_of
from dashboards.jobs.recipes import placed, recipe_of_result, run_to_merge, shipped_recipes
from dashboards.jobs.requests import read_recipe
from dashboards.jobs.stages import STAGES
from evalsuite.recipe import EvalRecipe
from finetune.recipe import TrainRecipe
from tests.dashboards.curated import recipe as curated_recipe
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.recipe import parse_recipe
from winnow.run import write_manifest

SHIPPED = [(stage, name, text) for stage in STAGES for name, text in shipped_recipes(stage).items()]
# Texts that a careless writer of YAML would turn into something else.
_TEXTS = st.sampled_from(
    ["0429", "yes", "null", "~", "2026-01-01", "1e3", "a: b", "- a", "#", "'", '"', "{", "é\u2028", "x\ty", " x ", "*a"]
) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_SCALARS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.booleans() | _TEXTS
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3), max_leaves=6
)


def entry_for(field: Field) -> st.SearchStrategy[Entry]:
    """Anything that a visitor can leave in a field."""
    if field.kind == "switch":
        return st.sampled_from([None, True, False])
    if field.kind == "choice":
        return st.sampled_from([None, *field.choices])
    if field.kind == "texts":
        return st.lists(_TEXTS, max_size=3).map(tuple)
    if field.kind == "text":
        return st.just("") | _TEXTS
    return st.just("") | _VALUES.map(lambda value: text_of(value).strip())


def test_every_shipped_recipe_is_found() -> None:
    assert {stage for stage, _, _ in SHIPPED} == {"curate", "finetune", "evalsuite"}
    assert len(SHIPPED) == len(list(Path(__file__).parents[3].glob("*/recipes/*.yaml")))


@pytest.mark.parametrize(("stage", "name", "text"), SHIPPED, ids=lambda value: str(value)[:24])
def test_an_untouched_form_leaves_a_shipped_recipe_as_it_is(stage: Any, name: str, text: str) -> None:
    fields, values = fields_of(STAGES[stage].model), values_of(text)
    entries = entries_of(fields, values)
    assert values_of_entries(fields, values, entries) == values == yaml.safe_load(text)
    assert values_of(text_of(values)) == values
    # Filling in an empty form gives the same recipe too.
    again = values_of_entries(fields, {}, entries)
    assert entries_of(fields, again) == entries
    assert STAGES[stage].model.model_validate(again) == STAGES[stage].model.model_validate(values)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_form_to_recipe_to_form_keeps_whatever_was_entered(data: st.DataObject) -> None:
    stage, _, text = data.draw(st.sampled_from(SHIPPED))
    fields, base = fields_of(STAGES[stage].model), values_of(text)
    entries: Entries = entries_of(fields, base)
    for field in data.draw(st.lists(st.sampled_from(leaves(fields)), max_size=6, unique=True)):
        entries[field.path] = data.draw(entry_for(field))
    for section in sections(fields):
        if section.optional and data.draw(st.booleans()):
            entries[section.path] = not entries[section.path]
    off = [section.path for section in sections(fields) if section.optional and not entries[section.path]]
    for path in entries:  # fields of a section that is left out are not shown, and hold nothing
        if any(path[: len(above)] == above and path != above for above in off):
            entries[path] = entries_of(fields, {})[path]
    values = values_of_entries(fields, base, entries)
    written = values_of(text_of(values))
    assert written == values
    shown = entries_of(fields, written)
    for path, entry in entries.items():
        if isinstance(entry, str) and isinstance(shown[path], str) and entry != shown[path]:
            assert value_of(str(shown[path])) == value_of(entry), path  # written otherwise, the same value
        else:
            assert shown[path] == entry, path


@settings(max_examples=100, deadline=None)
@given(_VALUES)
@example("\x85")
@example(["a\x85b", "\u2028"])
def test_a_value_survives_being_written(value: Any) -> None:
    assert value_of(text_of(value)) == value


def test_left_out_and_set_to_the_default_stay_different() -> None:
    """A recipe that trains an adapter further takes keys that are left out from the adapter's run."""
    fields = fields_of(TrainRecipe)
    base = {"name": "a", "model": "m", "data": "d", "lora_dropout": 0.05}
    entries = entries_of(fields, base)
    assert values_of_entries(fields, base, entries) == base
    assert values_of_entries(fields, base, {**entries, ("lora_dropout",): ""}) == {
        "name": "a",
        "model": "m",
        "data": "d",
    }
    off = {**base, "projector": None}
    assert values_of_entries(fields, off, entries_of(fields, off)) == off


def test_an_optional_section_is_there_absent_or_at_its_defaults() -> None:
    fields, base = fields_of(CurateRecipe), {"name": "a", "sources": [{"location": "x"}]}
    entries = entries_of(fields, base)
    assert entries[("remote",)] is False
    on = values_of_entries(fields, base, {**entries, ("remote",): True})
    assert on == {**base, "remote": {}} and entries_of(fields, on)[("remote",)] is True
    filled = values_of_entries(fields, on, {**entries_of(fields, on), ("remote", "attempts"): "2"})
    assert filled["remote"] == {"attempts": 2}
    assert "remote" not in values_of_entries(fields, filled, {**entries_of(fields, filled), ("remote",): False})


def test_a_faulty_field_is_named() -> None:
    fields, base = fields_of(TrainRecipe), {"name": "a"}
    with pytest.raises(UserError, match=r"^learning_rate: line 1: "):
        values_of_entries(fields, base, {**entries_of(fields, base), ("learning_rate",): "{a: "})


def test_fields_say_what_the_models_say() -> None:
    train = {".".join(field.path): field for field in leaves(fields_of(TrainRecipe))}
    assert train["method"].kind == "choice" and train["method"].choices == ("sft", "dpo")
    assert train["method"].default == "sft" and "preference pairs" in train["method"].help
    assert train["epochs"].help == train["max_steps"].help.replace(" (at least 1)", " (above 0)")
    assert train["name"].required and not train["epochs"].required
    assert train["learning_rate"].kind == "yaml" and not train["learning_rate"].wide
    assert train["dpo.beta"].default == "0.1" and train["packing"].default == "no"
    curated = {".".join(field.path): field for field in leaves(fields_of(CurateRecipe))}
    assert curated["duplicates.radius"].help.startswith("largest Hamming distance"), "described by the model above"
    assert curated["splits"].kind == "yaml", "its keys are names that the writer chooses"
    evaluated = {".".join(field.path): field for field in leaves(fields_of(EvalRecipe))}
    assert evaluated["tasks"].kind == "texts" and evaluated["judge.server.timeout"].default == "120.0"
    for stage, form in STAGES.items():
        assert all(field.help for field in leaves(fields_of(form.model))), stage
        assert set(form.first) <= set(form.model.model_fields)


@pytest.mark.parametrize("text", ["a: &x 1", "a: *x", "a: !!python/name:os.system", "[1]", "a: 1\na: 2", "{"])
def test_yaml_of_strangers_is_refused_with_a_sentence(text: str) -> None:
    if text == "a: &x 1":
        assert values_of(text) == {"a": 1}
        return
    with pytest.raises(UserError, match=r"^recipe") as refused:
        values_of(text)
    assert "/tmp" not in str(refused.value)


def test_the_stage_says_what_is_wrong() -> None:
    with pytest.raises(UserError, match=r"^recipe: unknown key 'sorces'; did you mean sources"):
        read_recipe("curate", "name: a\nsorces: []\n")


def _held(root: Path, kind: Kind, stage: str, recipe: dict[str, Any]) -> Folder:
    """A result folder whose manifest holds a recipe."""
    folder = root / kind / "small"
    write_manifest(folder, stage=stage, recipe=recipe, inputs={}, outputs=[], counts={}, seconds={}, seeds={})
    return Folder(kind, folder.name, folder, digest_of(recipe))


def test_recipe_of_a_curated_set_is_read_back(tmp_path: Path) -> None:
    made = curated_recipe(tmp_path)
    text = recipe_of_result("curate", _held(tmp_path, "curated", "curate", resolved(made)), tmp_path)
    again = parse_recipe(values_of(text), CurateRecipe, "text")
    without = {"signals": {"workers"}}  # changes no result, so the manifest has it not
    assert again.model_dump(exclude=without) == made.model_copy(update={"out": Path("curated/small")}).model_dump(
        exclude=without
    )
    assert "radius" not in text and "duplicates: {}" in text, "defaults are left out, sections are not"


def test_recipe_of_an_evaluation_is_read_back_without_what_the_stage_added(tmp_path: Path) -> None:
    made = parse_recipe(values_of(shipped_recipes("evalsuite")["demo_tuned"]), EvalRecipe, "shipped")
    held = _held(tmp_path, "evals", "evalsuite", {**made.model_dump(mode="json"), "version": 5})
    assert parse_recipe(
        values_of(recipe_of_result("evalsuite", held, tmp_path)), EvalRecipe, "text"
    ) == made.model_copy(update={"out": Path("evals/small")})


def test_recipe_that_trains_an_adapter_further_keeps_every_key(tmp_path: Path) -> None:
    made = TrainRecipe(name="small", model="m", data=Path("d"), adapter="a", lora_dropout=0.05)
    text = recipe_of_result("finetune", _held(tmp_path, "runs", "finetune", made.model_dump(mode="json")), tmp_path)
    assert values_of(text)["lora_dropout"] == 0.05
    alone = made.model_copy(update={"adapter": None})
    text = recipe_of_result("finetune", _held(tmp_path, "runs", "finetune", alone.model_dump(mode="json")), tmp_path)
    assert values_of(text) == {"name": "small", "model": "m", "data": "d", "out": "runs/small"}


def test_a_manifest_without_a_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no recipe that this version reads"):
        recipe_of_result("curate", _held(tmp_path, "curated", "curate", {"name": "a"}), tmp_path)


def test_results_of_another_folder_are_named_in_the_recipe(tmp_path: Path) -> None:
    there = placed("name: a\n", "finetune", tmp_path / "data", tmp_path)
    assert there == "name: a\n", "where the command writes anyway"
    elsewhere = placed("name: a\n", "finetune", tmp_path / "other", tmp_path)
    assert values_of(elsewhere) == {"name": "a", "out": "other/runs/a"}
    assert placed("name: a\nout: x\n", "finetune", tmp_path / "other", tmp_path) == "name: a\nout: x\n"


def test_a_merge_starts_from_a_run(tmp_path: Path) -> None:
    text = run_to_merge(_held(tmp_path, "runs", "finetune", {}), tmp_path, tmp_path)
    assert values_of(text) == {"run": "runs/small", "out": "models/small"}
    read_recipe("merge", text)
