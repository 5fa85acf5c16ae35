# ruff: noqa: E501
"""Every shipped task on a few rows in the layout its benchmark publishes, with stored answers: no model."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from evalsuite.analysis.explain import explain, explain_row
from evalsuite.analysis.results import score_rows, summarise
from evalsuite.backends import Reply, Request
from evalsuite.cli import app
from evalsuite.report.console import print_explanations
from evalsuite.runs.finish import UnscoredRun, finish, rescore
from evalsuite.runs.requests import RowRequest, to_row
from evalsuite.tasks.load import load_task
from evalsuite.tasks.spec import dumped, load_spec, shipped_tasks, side_by_side
from winnow.errors import UserError

PEERS = Path(__file__).parents[1] / "peers"


@pytest.fixture(autouse=True)
def own_images(tmp_path, monkeypatch):
    monkeypatch.setattr("evalsuite.tasks.load.IMAGES", tmp_path / "cache")


VOTES = [
    {"answer": answer, "answer_id": n, "answer_confidence": "yes"} for n, answer in enumerate(["two"] * 4 + ["3"] * 6)
]
VQA = [{"question_id": 7, "image_id": 9, "question": "How many dogs?"}]
MMMU = {"explanation": "", "img_type": "[]", "topic_difficulty": "Easy", "subfield": "Art"}


def vqa_files(folder: Path) -> Path:
    annotation = {"question_id": 7, "image_id": 9, "question_type": "how many", "answer_type": "number",
                  "multiple_choice_answer": "3", "answers": VOTES}  # fmt: skip
    (folder / "v2_mscoco_val2014_annotations.json").write_text(json.dumps({"annotations": [annotation]}))
    questions = folder / "v2_OpenEnded_mscoco_val2014_questions.json"
    questions.write_text(json.dumps({"data_subtype": "val2014", "questions": VQA}))
    return questions


def dump(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def lines(folder: Path, name: str, rows: list) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def easy(folder: Path, answers: list[str], question_type: str) -> Path:
    turns = [{"from": "user", "value": "what?"}, {"from": "assistant", "value": answers[0]}]
    meta = {"question_type": question_type, "answer_type": "other"}
    return lines(
        folder, "test.jsonl", [{"id": "a", "image": "a.png", "conversations": turns, "answers": answers, "meta": meta}]
    )


def textvqa(folder: Path) -> Path:
    row = {"question": "what word?", "image_id": "i1", "question_id": 5, "answers": ["NASA"] * 10, "set_name": "val",
           "image_classes": ["Poster", "Man"]}  # fmt: skip
    ocr = {"image_id": "i1", "ocr_tokens": ["NASA", "1969"], "ocr_info": []}
    dump(folder, "TextVQA_Rosetta_OCR_v0.2_val.json", {"data": [ocr]})
    return dump(folder, "TextVQA_0.5.1_val.json", {"dataset_name": "textvqa", "data": [row]})


def docvqa(folder: Path, key: str) -> Path:
    row = {
        "questionId": 3,
        "question": "which year?",
        "answers": ["in 1969", "1969"],
        key: "p.png",
        "question_types": ["layout"],
    }
    return dump(folder, "val_v1.0.json", {"dataset_name": "d", "dataset_split": "val", "data": [row]})


def vizwiz(folder: Path) -> Path:
    unclear = [{"answer": "unanswerable", "answer_confidence": "yes"}] * 10
    rows = [{"image": "VizWiz_val_1.jpg", "question": "what?", "answers": unclear, "answer_type": "unanswerable", "answerable": 0},
            {"image": "VizWiz_val_2.jpg", "question": "which?", "answers": VOTES, "answer_type": "number", "answerable": 1}]  # fmt: skip
    return dump(folder, "val.json", rows)


def gqa(folder: Path) -> Path:
    row = {"question": "Is it red?", "imageId": "5", "answer": "yes", "fullAnswer": "Yes.", "isBalanced": True, "groups": {},
           "types": {"structural": "verify", "semantic": "attr", "detailed": "verifyAttr"},
           "annotations": {"question": {"2": "17", "3": "18"}}}  # fmt: skip
    return dump(folder, "testdev_balanced_questions.json", {"01": row})


def scienceqa(folder: Path) -> Path:
    row = {"question": "Which?", "choices": ["salt", "iron"], "answer": 1, "hint": "Metals.", "image": "image.png",
           "split": "test", "subject": "natural science", "grade": "grade3", "lecture": "", "solution": "", "topic": "x"}  # fmt: skip
    return dump(folder, "problems.json", {"1": row, "2": {**row, "image": None, "answer": 0}})


def mme(folder: Path) -> Path:
    for category, question in (("existence", "Is there a dog?"), ("code_reasoning", "Is it Python?")):
        (folder / category).mkdir()
        (folder / category / "1.txt").write_text(f"{question}\tYes\nIs there a cat?\tNo\n")
        Image.new("RGB", (8, 8)).save(folder / category / "1.png")
    return folder


def mmmu(folder: Path) -> Path:
    Image.new("RGB", (8, 8)).save(folder / "i.png")
    image = {"bytes": (folder / "i.png").read_bytes(), "path": "i.png"}
    rows = [
        {"id": "validation_Art_1", "question": "<image 1> Who?", "options": "['Monet', 'Manet']", "answer": "B", "image_1": image,
         "question_type": "multiple-choice", **MMMU},
        {"id": "validation_Art_2", "question": "<image 1> How much?", "options": "[]", "answer": "42", "image_1": image,
         "question_type": "open", **MMMU},
    ]  # fmt: skip
    (folder / "Art").mkdir()
    pd.DataFrame(rows).to_parquet(folder / "Art" / "validation-00000-of-00001.parquet")
    return folder


def pope(folder: Path) -> Path:
    for kind in ("random", "popular", "adversarial"):
        rows = [{"question_id": n, "image": "COCO_val2014_1.jpg", "text": f"Is there a {n}?", "label": label}
                for n, label in enumerate(("yes", "no"), start=1)]  # fmt: skip
        lines(folder, f"coco_pope_{kind}.json", rows)
    return folder


def coco(folder: Path) -> Path:
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 2)]
    captions = [{"id": 10 * n + k, "image_id": n, "caption": text} for n, texts in
                ((1, ("A red dog.", "a dog")), (2, ("Two cats sleep.", "cats"))) for k, text in enumerate(texts)]  # fmt: skip
    return dump(folder, "captions_val2014.json", {"images": images, "annotations": captions})


def karpathy(folder: Path) -> Path:
    images = [{"filename": f"{n}.jpg", "imgid": n, "sentids": [n], "split": "test",
               "sentences": [{"raw": raw, "tokens": raw.lower().split(), "imgid": n, "sentid": n}]}
              for n, raw in enumerate(("A red dog.", "Two cats sleep."))]  # fmt: skip
    return dump(folder, "dataset_flickr30k.json", {"dataset": "flickr30k", "images": images})


# task → (data, answers in order, scores, slices)
CASES = {
    "vqav2": (vqa_files, ["Two."], {"vqa_accuracy": 1.0}, {"answer_type": "number", "question_type": "how many"}),
    "okvqa": (vqa_files, ["3."], {"vqa_accuracy": 1.0}, {"question_type": "how many"}),
    "textvqa": (textvqa, ["nasa"], {"vqa_accuracy": 1.0}, {"ocr_tokens": "1-5", "objects": "2-3"}),
    "vizwiz": (vizwiz, ["Unanswerable", "unanswerable"], {"vqa_accuracy": 0.5, "unanswerable_precision": 0.5,
               "unanswerable_recall": 1.0, "unanswerable_f1": 2 / 3}, {"answer_type": "unanswerable", "answerable": "0"}),
    "gqa": (gqa, ["Yes."], {"gqa": 1.0}, {"question_type": "verify", "semantic": "attr", "objects": "2"}),
    "docvqa": (lambda folder: docvqa(folder, "image"), ["In 1968"], {"anls": 6 / 7, "accuracy": 0.0}, {}),
    "infovqa": (lambda folder: docvqa(folder, "image_local_name"), ["1969"], {"anls": 1.0, "accuracy": 1.0}, {}),
    "chartqa": (lambda folder: dump(folder, "test_human.json", [{"imgname": "c.png", "query": "Which year?", "label": "2010"}]),
                ["2019"], {"relaxed_accuracy": 1.0, "relaxed_accuracy_strict": 0.0}, {"question_type": "human"}),
    "scienceqa": (scienceqa, ["(B) iron", "b"], {"multiple_choice": 0.5, "multiple_choice_scienceqa": 0.0},
                  {"images": "1", "subject": "natural science"}),
    "mme": (mme, ["yes", "No.", "Yes, it is", "yes"], {"mme_perception": 50.0, "mme_cognition": 200.0}, {"category": "code_reasoning"}),
    "mmmu": (mmmu, ["B", "so it is 42."], {"mmmu": 1.0, "mmmu_multiple_choice": 1.0, "mmmu_open": 1.0},
             {"question_type": "multiple-choice", "subfield": "Art"}),
    "pope": (pope, ["yes", "no", "Yes.", "Who knows", "yes", "yes"],
             {"pope_accuracy": 4 / 6, "pope_precision": 0.75, "pope_recall": 1.0, "pope_f1": 6 / 7, "pope_yes_ratio": 4 / 6,
              "pope_f1_mean": (1 + 1 + 2 / 3) / 3, "pope_official_accuracy": 4 / 6}, {"category": "random"}),
    "coco_caption": (coco, ["a red dog", "two cats sleep"], {"bleu_1": 1.0, "rouge_l": 1.0}, {}),
    "flickr30k_caption": (karpathy, ["a red dog", "two cats sleep"], {"bleu_1": 1.0, "rouge_l": 1.0}, {}),
    "easy_vqa": (lambda folder: easy(folder, ["red"], "color"), ["It is red."], {"accuracy": 1.0},
                 {"question_type": "color"}),
    "easy_vqa_caption": (lambda folder: easy(folder, ["a red dog", "the dog"], "caption"), ["a red dog"], {"rouge_l": 1.0}, {}),
}  # fmt: skip


def prepared(name: str, folder: Path):
    """The task as a user points it at data: a file with ``base`` and ``source``; and its rows with answers."""
    make, said, _, _ = CASES[name]
    data = folder / "data"
    data.mkdir(parents=True)
    path = folder / "mine.yaml"
    path.write_text(f"base: {name}\nsource: {{location: '{make(data)}', image_root: '{data}'}}\n")
    spec = load_spec(str(path))
    task = load_task(spec, limit=None, seed=0)
    assert not task.bad_rows and len(task.rows) == len(said)
    if name == "mmmu":  # its images are inside the table
        assert all((task.image_root / path).is_file() for row in task.rows for path in row.images)
    rows = []
    for row, text in zip(task.rows, said, strict=True):
        request = Request(row.sample_id, row.prompt, (), row.images, 8, ())
        reply = Reply(row.sample_id, text, "stop", 1, 1, 0.0, None)
        rows.append(
            to_row(
                RowRequest(spec.name, row, spec.extraction, row.prompt, row.images, request, None),
                {row.sample_id: reply},
            )
        )
    return spec, rows


def test_every_shipped_task_is_tried() -> None:
    elsewhere = json.loads((PEERS / "benchmarks.json").read_text(encoding="utf-8"))["tasks"]  # test_benchmarks.py
    assert set(CASES) | set(elsewhere) == set(shipped_tasks())


@pytest.mark.parametrize("name", CASES)
def test_a_task_reads_its_layout_and_scores_stored_answers(name: str, tmp_path: Path) -> None:
    spec, rows = prepared(name, tmp_path)
    result = score_rows(spec, rows)
    task = summarise(result, seed=0)
    _, _, scores, slices = CASES[name]
    found = {metric: entry["value"] for metric, entry in task["metrics"].items()}
    assert {metric: found[metric] for metric in scores} == pytest.approx(scores)
    assert {key: rows[0].get(f"slice_{key}") for key in slices} == slices
    assert all(task["metrics"][metric]["variant"] for metric in found)
    assert "{" not in rows[0]["prompt"] and rows[0]["question"].strip()


CAPTIONS = {"coco_caption", "flickr30k_caption", "easy_vqa_caption"}
WRONG = {"yes": "no", "no": "yes", "A": "B", "B": "A", "red": "blue"}


@pytest.mark.parametrize("name", CASES)
def test_every_task_tells_right_rows_from_wrong_ones_in_its_own_unit(name: str, tmp_path: Path) -> None:
    spec, rows = prepared(name, tmp_path)
    best = [row["references"][0] if len(set(row["references"])) == 1 else row["references"][-1] for row in rows]
    for replies, expected in ((best, True), ([WRONG.get(text, "zebra crossing") for text in best], False)):
        result = score_rows(spec, [{**row, "raw": text} for row, text in zip(rows, replies, strict=True)])
        columns = [column.name for column in result.columns]
        judged = [[row[f"{column}_right"] for column in columns] for row in result.rows]
        first = [next((right for right in listed if right is not None), None) for listed in judged]
        assert first == [None if name in CAPTIONS else expected] * len(rows)
        entry = summarise(result, seed=0)["metrics"][result.headline.name]
        unit, top = {"mme": ("points", 2000.0)}.get(name, ("", 10.0) if name in CAPTIONS else ("%", 1.0))
        assert (entry["unit"], entry["top"]) == (unit, top) and entry["title"]
        if name not in CAPTIONS:
            perfect = 200.0 if name == "mme" else 1.0
            assert (entry["value"] == perfect) if expected else (entry["value"] < perfect / 2)


def test_a_row_without_an_answer_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    spec, rows = prepared("pope", tmp_path)
    right = {row["sample_id"]: (row["pope_accuracy_right"], row["pope_official_accuracy_right"])
             for row in score_rows(spec, rows).rows}  # fmt: skip
    assert right["pope/popular/1"] == (True, True)
    assert right["pope/popular/2"] == (None, False), "the official rule reads any reply as yes or no"
    columns = pq.read_schema(finished("easy_vqa", tmp_path / "more") / "predictions.parquet")
    assert columns.field("accuracy_right").type == pa.bool_()


def test_a_run_of_an_older_version_is_scored_again(tmp_path: Path) -> None:
    run = finished("textvqa", tmp_path)
    scores, table = json.loads((run / "scores.json").read_text()), pq.read_table(run / "predictions.parquet")
    older = json.loads(json.dumps(scores))
    for key in ("title", "unit", "top", "mean_of_rows"):
        del older["tasks"]["textvqa"]["metrics"]["vqa_accuracy"][key]
    (run / "scores.json").write_text(json.dumps(older))
    pq.write_table(table.drop_columns(["vqa_accuracy_right"]), run / "predictions.parquet")
    refused = CliRunner().invoke(app, ["report", str(run), "--latex"])
    assert f"bring it up to date with `evalsuite score {run}`" in str(refused.exception)
    assert CliRunner().invoke(app, ["score", str(run)]).exit_code == 0
    assert json.loads((run / "scores.json").read_text()) == scores
    assert pq.read_table(run / "predictions.parquet").equals(table)


def test_unparsed_is_a_status_of_its_own(tmp_path: Path) -> None:
    spec, rows = prepared("pope", tmp_path)
    statuses = [row["status"] for row in score_rows(spec, rows).rows]
    assert statuses == ["ok", "ok", "ok", "unparsed", "ok", "ok"]


def test_rows_to_which_a_metric_does_not_apply_hold_null(tmp_path: Path) -> None:
    spec, rows = prepared("mme", tmp_path)
    read = score_rows(spec, rows).rows
    assert [row["mme_cognition"] for row in read] == [1.0, 1.0, None, None]
    assert [row["mme_perception"] for row in read] == [None, None, 1.0, 0.0]


def test_variants_stand_side_by_side(tmp_path: Path) -> None:
    spec, rows = prepared("vqav2", tmp_path)
    rows[0]["references"], rows[0]["raw"] = ["Yes"] * 10, "yes"
    both = side_by_side(spec, ["vqa_accuracy=raw", "vqa_accuracy=evalai"])
    values = {column.name: column.per_row[0] for column in score_rows(both, rows).columns}
    assert values == {"vqa_accuracy": 1.0, "vqa_accuracy_raw": 0.0, "vqa_accuracy_evalai": 1.0}


def finished(name: str, folder: Path) -> Path:
    spec, rows = prepared(name, folder)
    extra = {"task_specs": dumped({spec.name: spec}), "image_root": {spec.name: str(folder)},
             "skipped": {spec.name: {"bad_rows": [], "bad": 0, "without_answer": 0}}}  # fmt: skip
    out = folder / "run"
    out.mkdir()
    recipe = {"name": "r", "seed": 0, "baseline": None}
    finish(out, UnscoredRun(name="r", label="m", specs={spec.name: spec}, rows={spec.name: rows}, seed=0, baseline=None,
                           recipe=recipe, inputs={}, extra=extra, seconds={}))  # fmt: skip
    return out


@pytest.mark.parametrize("name", CASES)
def test_explain_agrees_with_the_score_and_prints(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = finished(name, tmp_path)
    spec = load_spec(str(tmp_path / "mine.yaml"))
    sample = load_task(spec, limit=None, seed=0).rows[0].sample_id
    (found,) = explain(run, sample)
    for metric in found.metrics:
        if metric.readings and metric.readings[0].score is not None:
            own = metric.readings[0]
            assert own.rule == "this task" and own.score == metric.score, (metric, own)
    print_explanations([found])
    shown = capsys.readouterr().out
    assert sample.rpartition("/")[2] in shown and "raw" in shown and "extracted" in shown


def test_explain_says_what_other_tools_would_have_said(tmp_path: Path) -> None:
    run = finished("pope", tmp_path)
    (found,) = explain(run, "pope/popular/2")
    scores = {reading.rule: (reading.text, reading.score) for reading in found.metrics[0].readings}
    assert scores["this task"] == (None, 0.0)
    assert scores["official code"] == ("yes", 0.0) and scores["lmms-eval"] == (None, 0.0)


def test_explain_shows_every_step_from_the_reply_to_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    spec, rows = prepared("pope", tmp_path)
    found = explain_row(spec, {**score_rows(spec, rows).rows[0], "raw": "<think>no</think>\n\n**Answer: Yes**</s>"})
    assert [step.name for step in found.steps] == [
        "reply", "without thinking", "without special tokens", "without Markdown", "stated", "answer",
    ]  # fmt: skip
    assert found.steps[-1].text == "yes" and found.steps[1].text == "\n\n**Answer: Yes**</s>"
    assert found.others["the first four characters"].status == "unparsed" and "Markdown kept" not in found.others
    print_explanations([found])
    shown = capsys.readouterr().out
    assert "without thinking" in shown and "by the first four characters" in shown


def test_rescoring_adds_variants_beside_the_task_s_own(tmp_path: Path) -> None:
    run = finished("textvqa", tmp_path)
    scores = rescore(run, [], variants=["vqa_accuracy=official"])["tasks"]["textvqa"]["metrics"]
    assert list(scores) == ["vqa_accuracy", "vqa_accuracy_official"]
    assert "evalai" in scores["vqa_accuracy"]["variant"] and "official" in scores["vqa_accuracy_official"]["variant"]
    with pytest.raises(UserError, match="no task here has that metric; they have vqa_accuracy"):
        rescore(run, [], variants=["cider=zh"])


def test_with_one_reference_other_tools_score_nothing(tmp_path: Path) -> None:
    run, task = finished("easy_vqa", tmp_path), tmp_path / "vqa.yaml"
    task.write_text("base: easy_vqa\nmetrics: [vqa_accuracy]\n", encoding="utf-8")
    rescore(run, [str(task)])
    (found,) = explain(run, "test/a")
    scores = {reading.rule: reading.score for reading in found.metrics[0].readings}
    assert scores["this task"] == 1.0 and scores["official code"] == scores["lmms-eval"] == scores["VLMEvalKit"] == 0.0
