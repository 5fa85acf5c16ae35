"""Every shipped task, scored by evalsuite itself, as the dashboard shows it: right, wrong, and scores in their unit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dashboards.components.format import amount, difference, interval
from dashboards.data.answers import answers_at, count_outcomes
from dashboards.data.catalog import Folder, scan
from dashboards.data.filters import FilterSpec, View
from dashboards.data.scores import headline, scores
from evalsuite.runs.finish import UnscoredRun, finish
from evalsuite.tasks.spec import dumped, load_spec, shipped_tasks
from tests.dashboards.pages import captions, cards, metrics, open_page

VOTES = ["3"] * 6 + ["two"] * 4
SIZE = '{"width": 100, "height": 100}'
MATH = '{"question_type": "free_form", "answer_type": "integer", "precision": null}'
HALLUSION = '{"category": "VD", "subcategory": "chart", "set_id": "0", "figure_id": "1", "question_id": "0"}'
VERDICTS = ['{"score": 1.0, "by": "a judge", "status": "ok"}', '{"score": 0.0, "by": "a judge", "status": "ok"}']
# task → references, a right reply, a wrong one, and what else its rows need
CASES: dict[str, tuple[list[str], str, str, dict[str, Any]]] = {
    "vqav2": (VOTES, "3", "9", {}),
    "okvqa": (VOTES, "3", "9", {}),
    "textvqa": (["NASA"] * 10, "nasa", "esa", {}),
    "vizwiz": (["red"] * 10, "red", "blue", {}),
    "gqa": (["yes"], "Yes.", "No.", {}),
    "docvqa": (["1969"], "1969", "zebra", {}),
    "infovqa": (["1969"], "1969", "zebra", {}),
    "chartqa": (["2010"], "2010", "3", {}),
    "scienceqa": (["B"], "B", "A", {"choices": ["salt", "iron"]}),
    "mmmu": (["B"], "B", "A", {"choices": ["Monet", "Manet"]}),
    "mme": (["Yes"], "yes", "no", {"slice_category": "existence"}),
    "pope": (["yes"], "yes", "no", {"slice_category": "random"}),
    "easy_vqa": (["red"], "red", "blue", {}),
    "coco_caption": (["a red dog", "the dog"], "a red dog", "two cats", {}),
    "flickr30k_caption": (["a red dog", "the dog"], "a red dog", "two cats", {}),
    "easy_vqa_caption": (["a red dog", "the dog"], "a red dog", "two cats", {}),
    "ai2d": (["B"], "B", "A", {"choices": ["salt", "iron"]}),
    "mmbench": (["B"], "B", "A", {"choices": ["salt", "iron"]}),
    "mmstar": (["B"], "B", "A", {"choices": ["salt", "iron"], "slice_l2_category": "math"}),
    "seed_image": (["B"], "B", "A", {"choices": ["salt", "iron"]}),
    "blink": (["B"], "B", "A", {"choices": ["salt", "iron"], "slice_sub_task": "Counting"}),
    "realworldqa": (["B"], "B", "A", {}),
    "mmmu_pro_standard": (["B"], "B", "A", {"choices": ["Monet", "Manet"]}),
    "mmmu_pro_standard_cot": (["B"], "Answer: B", "Answer: A", {"choices": ["Monet", "Manet"]}),
    "mmmu_pro_vision": (["B"], "B", "A", {"choices": ["Monet", "Manet"]}),
    "mmmu_pro_vision_cot": (["B"], "Answer: B", "Answer: A", {"choices": ["Monet", "Manet"]}),
    "amber_discriminative": (["yes"], "yes", "no", {"slice_category": "attribute"}),
    "hallusion_bench": (["yes"], "yes", "no", {"facts": HALLUSION}),
    "mathvista": (["3"], "3", "9", {"facts": MATH}),
    "mm_vet": (["red"], "red", "blue", {"facts": '{"capability": "rec"}'}),
    "ocrbench": (["NASA"], "NASA", "ESA", {}),
    "stvqa": (["NASA"], "NASA", "zebra", {}),
    "refcoco": (["[0, 0, 10, 10]"], "[0, 0, 0.1, 0.1]", "[0.5, 0.5, 0.6, 0.6]", {"facts": SIZE}),
    "refcoco_plus": (["[0, 0, 10, 10]"], "[0, 0, 0.1, 0.1]", "[0.5, 0.5, 0.6, 0.6]", {"facts": SIZE}),
    "refcocog": (["[0, 0, 10, 10]"], "[0, 0, 0.1, 0.1]", "[0.5, 0.5, 0.6, 0.6]", {"facts": SIZE}),
    "nocaps": (["a red dog", "the dog"], "a red dog", "two cats", {}),
    "textcaps": (["a red dog", "the dog"], "a red dog", "two cats", {}),
}
CAPTIONS = {name for name in CASES if name.endswith("caption")} | {"nocaps", "textcaps"}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an evaluation of each shipped task: two right and two wrong answers about two images."""
    root = tmp_path_factory.mktemp("tasks")
    for name, (references, right, wrong, more) in CASES.items():
        spec = load_spec(name)
        rows = [
            {
                "sample_id": f"{name}/{number}", "image_keys": [f"{number // 2:064x}"],
                "images": [f"{number // 2}.png"],
                "task": name, "question": f"Question {number}?", "prompt": "", "raw": wrong if number % 2 else right,
                "references": references, "finish_reason": "stop", "input_tokens": 1, "output_tokens": 1,
                "seconds": 0.1, "error": None, "request_key": f"{number}", "content_hash": f"{number}", "choices": [],
                **({"verdict": VERDICTS[number % 2]} if spec.judge and not spec.rule_metrics else {}), **more,
            }
            for number in range(4)
        ]  # fmt: skip
        folder = root / "evals" / name
        folder.mkdir(parents=True)
        extra = {"task_specs": dumped({name: spec}), "image_root": {name: str(root)}, "skipped": {}}
        finish(
            folder,
            UnscoredRun(
                name=name, label="made", specs={name: spec}, rows={name: rows}, seed=0, baseline=None,
                recipe={"name": name, "seed": 0, "baseline": None}, inputs={}, extra=extra, seconds={},
            ),
        )  # fmt: skip
    return root


def _run(root: Path, name: str) -> Folder:
    found = scan(root).find("evals", name)
    assert found, [folder.problem for folder in scan(root).broken()]
    return found


def test_every_shipped_task_is_tried() -> None:
    assert set(CASES) == set(shipped_tasks())


@pytest.mark.parametrize("name", CASES)
def test_right_and_wrong_are_counted_and_shown(evaluated: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    run = _run(evaluated, name)
    counts = count_outcomes(View(FilterSpec(), run, None))
    correct = [answer.correct for answer in answers_at(run, None, (0, 1, 2, 3))]
    app = open_page(evaluated, monkeypatch, "failures", run=name, base="no comparison")
    if name in CAPTIONS:
        assert (counts["Right"], counts["Wrong"], counts["All"]) == (0, 0, 4) and correct == [None] * 4
        assert "0 wrong · 0 right · 4 in all" in captions(app) and not cards(app)
        return
    assert (counts["Right"], counts["Wrong"], counts["All"]) == (2, 2, 4)
    assert correct == [True, False, True, False]
    assert "2 wrong · 2 right · 4 in all" in captions(app)
    assert {card["id"] for card in cards(app)} == {f"{name}/1", f"{name}/3"}
    assert all(card["chips"][0]["text"] == "wrong" for card in cards(app))


@pytest.mark.parametrize("name", CASES)
def test_scores_are_shown_in_their_own_unit(evaluated: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    stored = json.loads((evaluated / "evals" / name / "scores.json").read_text())["tasks"][name]
    entry = stored["metrics"][stored["headline"]]
    (first,) = headline(scores(_run(evaluated, name)))
    assert (first.metric, first.title, first.unit, first.top) == (
        stored["headline"], entry["title"], entry["unit"], entry["top"],
    )  # fmt: skip
    app = open_page(evaluated, monkeypatch, "overview", run=name, base="no comparison")
    shown = metrics(app)
    (label,) = [label for label in shown if label.endswith(f"· {name.replace('_', ' ')}")]
    expected = {"%": f"{100 * entry['value']:.1f}%", "points": f"{entry['value']:g}", "": f"{entry['value']:.2f}"}
    assert shown[label] == expected[entry["unit"]]
    assert shown["Answers wrong"] == ("0" if name in CAPTIONS else "2")
    if name == "mme":  # half of the questions, and no image with both right
        assert entry["value"] == 50 and shown[label] == "50" and "a perfect score is 2000" in captions(app)


def test_points_are_never_percent() -> None:
    assert (amount(1423.0, "points"), amount(1423.46, "points")) == ("1423", "1423.5")
    assert interval(1400.0, 1450.5, "points") == "1400–1450.5"
    assert difference(-12.0, "points") == "-12 points" and difference(0.031, "%") == "+3.1 points"
    assert (amount(0.9714, "%"), amount(6.43, "")) == ("97.1%", "6.43")
