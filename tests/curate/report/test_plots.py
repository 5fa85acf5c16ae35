"""Histograms against numpy, thresholds from conditions, images and a page that needs no network."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from curate import pipeline
from curate.recipe import Rule
from curate.report import plots
from curate.report.histograms import Cut, Histogram, HistogramBar, histograms
from curate.rules.columns import column_types
from curate.rules.decide import check_rules, decide
from curate.rules.expression import parse_expression
from tests.curate.stored import image, sample, store
from tests.curate.test_pipeline import full, make

RULES = check_rules(
    {
        "blurry": Rule(when="coalesce(sharpness, sharpness_coarse) < 40", action="drop"),
        "wide": Rule(when="aspect_ratio > 2 OR aspect_ratio < -0.5", action="flag"),
        "odd": Rule(when="entropy BETWEEN 1 AND 2", action="flag"),
    }
)


def values(n):
    return float(np.random.default_rng(n).gamma(4, 15))


@pytest.fixture
def space(tmp_path):
    images = [image(f"k{n}", sharpness=values(n) if n % 10 else None, aspect_ratio=1.0) for n in range(500)]
    space = store(tmp_path, [sample(f"{n:05d}", [f"k{n}"]) for n in range(500)], images)
    decide(space, RULES)
    return space


def test_every_row_is_in_a_bar_or_counted_as_missing(space):
    found = {one.column: one for one in histograms(space, RULES, [])}
    sharp = found["sharpness"]
    expected = np.array([values(n) for n in range(500) if n % 10])
    assert sharp.missing == 50
    assert sum(bar.rows for bar in sharp.bars) + sharp.beyond == 450
    assert sharp.beyond <= 4
    last = max(bar.end for bar in sharp.bars)
    for bar in sharp.bars:
        end = bar.end + 1e-6 if bar.end == last else bar.end  # the last bin has both its ends
        within = expected[(expected >= bar.start) & (expected < end)]
        dropped = (within < 40).sum()
        assert bar.rows == (dropped if bar.decision == "drop" else len(within) - dropped)
    assert [(cut.rule, cut.value) for cut in sharp.cuts] == [("blurry", 40.0)]
    assert "aspect_ratio" not in found, "one value is no histogram"
    assert "phash" not in found
    assert next(iter(found)) == "sharpness", "what rules ask about comes first"


def test_whole_numbers_get_whole_bins(tmp_path):
    images = [image(f"k{n}", width=64 + n % 5) for n in range(50)]
    space = store(tmp_path, [sample(f"{n}", [f"k{n}"]) for n in range(50)], images)
    decide(space, RULES)
    (width,) = [one for one in histograms(space, RULES, []) if one.column == "width"]
    assert [(bar.start, bar.end, bar.rows) for bar in width.bars] == [(63.5 + n, 64.5 + n, 10) for n in range(5)]


@pytest.mark.parametrize(
    ("condition", "cuts"),
    [
        ("sharpness < 35 AND entropy > 3", (("sharpness", 35.0), ("entropy", 3.0))),
        ("0.8 < nsfw", (("nsfw", 0.8),)),
        ("clip_alignment < -0.05", (("clip_alignment", -0.05),)),
        ("clip_alignment < (1 - 0.5) / 2", (("clip_alignment", 0.25),)),
        ("NOT (width BETWEEN 10 AND 20)", (("width", 10.0), ("width", 20.0))),
        ("coalesce(sharpness, sharpness_coarse) < 40", (("sharpness", 40.0), ("sharpness_coarse", 40.0))),
        ("least(width, height) < 64", ()),
        ("width < height", ()),
        ("error = 'missing' OR refusal", ()),
        ("question = '12'", (("question", 12.0),)),
    ],
)
def test_thresholds_are_read_from_conditions(condition, cuts):
    assert parse_expression(condition, column_types(), "rule 'r'").cuts == cuts


@pytest.mark.slow
def test_images_and_page(tmp_path):
    make(tmp_path)
    pipeline.run(full(tmp_path), "recipe.yaml")
    first, *pictures = plots.plot(tmp_path / "out")
    assert {"funnel.png", "width.png", "contrast.png"} <= {picture.name for picture in pictures}
    for picture in pictures:
        with Image.open(picture) as opened:
            assert opened.format == "PNG"
            assert min(opened.size) > 200
            assert len(opened.convert("RGB").resize((80, 80)).getcolors(6400)) > 20, "something is drawn"
    text = first.read_text(encoding="utf-8")
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert not re.findall(r"(?:src|href|url)\s*[=(]", markup), "nothing is fetched"
    shown = json.loads(re.search(r"Object\.entries\((.*?)\)\) \{", text, re.S).group(1))
    assert len(shown) == len(pictures)
    (tmp_path / "out/plots/gone.png").write_bytes(b"")
    plots.plot(tmp_path / "out")
    assert not (tmp_path / "out/plots/gone.png").exists()


@pytest.mark.slow
def test_text_of_the_dataset_stays_text():
    counts = {"rows": 1, "keep": 1, "flag": 0, "drop": 0, "images": 1, "rules": []}
    made = plots._page("</script><script>alert(1)</script>", counts, {"a": {"title": "</script>"}})
    assert "<script>alert" not in made
    assert made.count("</script>") == 2


def test_thresholds_far_from_all_values_are_told_at_the_edge():
    bars = [HistogramBar(0.0, 0.1, "keep", 5)]
    cuts = [Cut("near", "drop", 0.2, ""), Cut("far", "drop", 9.0, "")]
    chart = plots.histogram(Histogram("nsfw", "", bars, cuts, 0, 0))
    labels = [layer["data"]["values"][0]["label"] for layer in chart["layer"][1:]]
    assert labels == ["near 0.2", "near 0.2", "far 9 →"]
    assert chart["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0.0, 0.2]


def test_an_empty_set_has_a_funnel():
    counts = {"rows": 0, "keep": 0, "flag": 0, "drop": 0, "images": 0, "rules": []}
    assert plots.funnel(counts)["height"] == 48
