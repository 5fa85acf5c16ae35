"""The dataset card: valid on the hub, whole without the originals, and nothing in it but text."""

import json
import re

import huggingface_hub
import pytest
import yaml
from PIL import Image

from curate import pipeline
from curate.exports.export import license_fields
from tests.curate import sets
from tests.curate.test_pipeline import full, make
from winnow.corrections import content_hash
from winnow.media import images
from winnow.run import read_manifest
from winnow.text import cell, table


def licensed(folder, *names, **changes):
    """The small set from one source for each licence."""
    sources = []
    for number, name in enumerate(names):
        lines = sets.write_lines(folder / f"more{number}.jsonl", [sets.row(f"m{number}", "a.png", f"More {number}?")])
        sources.append({"location": str(lines), "image_root": str(folder / "images"), "license": name})
    first = {"location": str(folder / "rows.jsonl"), "image_root": str(folder / "images")}
    return full(folder, sources=[first, *sources], **changes)


def card_of(folder):
    return huggingface_hub.DatasetCard.load(str(folder / "out/README.md"))


def test_front_matter_is_what_the_hub_reads(tmp_path):
    make(tmp_path)
    recipe = licensed(tmp_path, "cc-by-4.0", "Our terms v2", splits={"train": 0.5, "val": 0.5})
    pipeline.run(recipe, "recipe.yaml")
    card = card_of(tmp_path)
    assert card.data.pretty_name == "set"
    assert card.data.license == ["cc-by-4.0", "other"]
    assert card.data.license_name == "Our terms v2"
    assert card.data.size_categories == ["n<1K"]
    assert card.data.task_categories == ["visual-question-answering"]
    (config,) = yaml.safe_load(str(card.data))["configs"]
    for files in config["data_files"]:
        assert (tmp_path / "out" / files["path"]).is_file()
    assert [files["split"] for files in config["data_files"]] == ["train", "val"]
    manifest = read_manifest(tmp_path / "out", finish_with="")
    assert list(manifest["licenses"].values()) == ["cc-by-4.0", "Our terms v2"]
    text = card.content
    for heading in ("Funnel", "Sources", "Splits", "Contamination", "Rules", "Examples", "Make it again"):
        assert f"\n## {heading}\n" in text
    assert "not stated |" in text and "cc-by-4.0 |" in text


def test_another_licence_measures_nothing_again(tmp_path, monkeypatch):
    make(tmp_path)
    pipeline.run(licensed(tmp_path, "mit"), "recipe.yaml")
    monkeypatch.setattr(pipeline, "measure_text", None)
    pipeline.decide_again(licensed(tmp_path, "apache-2.0"), "recipe.yaml")
    assert card_of(tmp_path).data.license == "apache-2.0"


@pytest.mark.slow
def test_thumbnails_come_with_a_run_and_not_with_a_decision(tmp_path, monkeypatch):
    make(tmp_path)
    pipeline.run(full(tmp_path), "recipe.yaml")
    out = tmp_path / "out"
    shown = re.findall(r'<img src="([^"]+)"', (out / "README.md").read_text())
    assert len(set(shown)) > 4
    for name in shown:
        with Image.open(out / name) as image:
            image.load()
    stricter = full(tmp_path, rules={**sets.RULES, "all": {"when": "width > 0", "action": "flag"}}, seed=5)
    with monkeypatch.context() as patched:
        patched.setattr(images, "decode", None)
        pipeline.decide_again(stricter, "recipe.yaml")
    decided = re.findall(r'<img src="([^"]+)"', (out / "README.md").read_text())
    assert all((out / name).is_file() for name in decided), "an image without thumbnail is linked where it lies"
    assert not read_manifest(out, finish_with="")["card_is_complete"] or all("examples/" in name for name in decided)
    pipeline.run(stricter, "recipe.yaml")
    again = re.findall(r'<img src="([^"]+)"', (out / "README.md").read_text())
    assert all(name.startswith("examples/") for name in again)
    assert {f"examples/{path.name}" for path in (out / "examples").iterdir()} == set(again)


def test_corrections_are_told_with_what_became_of_them(tmp_path):
    make(tmp_path)
    record = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0])
    base = {"sample_id": "set/train/1", "reviewer": "ann", "at": "2026-01-01T00:00:00Z"}
    lines = [
        {**base, "correction_id": "old|one", "action": "drop", "content_hash": "0" * 64},
        {**base, "correction_id": "c2", "action": "keep", "sample_id": "set/train/8", "reviewer": "bob",
         "content_hash": content_hash([], {"conversations": [], "answers": []})},
    ]  # fmt: skip
    assert record["id"] == "set/train/1"
    sets.write_lines(tmp_path / "fixes/ann.jsonl", lines)
    pipeline.run(full(tmp_path), "recipe.yaml")
    text = (tmp_path / "out/README.md").read_text()
    assert "| stale | 2 | the row is not the one that the reviewer saw |" in text
    assert "Stale: c2, old&#124;one." in text


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        ([], {}),
        (["MIT"], {"license": "mit"}),
        (["cc-by-4.0", "cc-by-4.0", "mit"], {"license": ["cc-by-4.0", "mit"]}),
        (["my terms"], {"license": "other", "license_name": "my terms"}),
    ],
)
def test_licence_fields(names, fields):
    assert license_fields(names) == fields


def test_tables_hold_hostile_text():
    made = table(["a", "b"], [[cell("x | y\n# z"), cell("<script>`[l](u)` **b**")]], numbers_from=1)
    assert made.splitlines()[1] == "|---|--:|"
    assert len(made.splitlines()) == 3
    assert made.splitlines()[2].count(" | ") == 1
    assert "<script" not in made and "[l](" not in made and "**" not in made
    assert len(cell("x" * 500)) == 120
