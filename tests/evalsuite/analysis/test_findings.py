"""What is given beside a score: training images among the test rows, reviewers' corrections, batch sizes."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made import made_row, write_evaluation
from PIL import Image, ImageDraw
from tiny import recipe_text
from typer.testing import CliRunner

from curate.signals import measure_pixels
from evalsuite.analysis.overlap import touched_images
from evalsuite.backends.transformers import local_backend
from evalsuite.cli import app
from evalsuite.recipe import EvalRecipe
from evalsuite.runs.batch_check import check_batches, compare_batches
from evalsuite.runs.finish import rescore
from evalsuite.runs.run import run_recipe
from winnow.errors import UserError
from winnow.files import sha256_file


def drawing(seed: int) -> Image.Image:
    image = Image.new("RGB", (64, 64), (250, 250, 245))
    pen = ImageDraw.Draw(image)
    for part in range(4):
        x, y = (seed * 37 + part * 53) % 44, (seed * 61 + part * 29) % 44
        pen.ellipse((x, y, x + 18, y + 14), fill=((seed * 90) % 256, (part * 80) % 256, (seed * 40 + 60) % 256))
    return image


def curated_set(folder: Path, kept: dict[str, Path], dropped: dict[str, Path]) -> Path:
    """A curated folder with one row an image, and their signals."""
    (folder / "signals").mkdir(parents=True)
    rows, signals = [], []
    for decision, files in (("keep", kept), ("drop", dropped)):
        for name, file in files.items():
            key = sha256_file(file)
            rows.append({"sample_id": name, "image_keys": [key], "decision": decision})
            image = Image.open(file).convert("RGB")
            measured = measure_pixels(image, ("hashes", "thumbnail"))
            signals.append({"image_key": key, "width": image.width, "height": image.height, **measured})
    pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
    types = {"phash": pa.uint64(), "dhash": pa.uint64(), "thumbnail": pa.binary(768), "image_key": pa.string(),
             "width": pa.int32(), "height": pa.int32()}  # fmt: skip
    schema = pa.schema([(name, types[name]) for name in signals[0]])
    pq.write_table(pa.Table.from_pylist(signals, schema), folder / "signals" / "part-00000.parquet")
    (folder / "manifest.json").write_text('{"stage": "curate"}')
    return folder


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    """Test images 0 to 5, and for training: 0 itself, 1 as JPEG, 2 (dropped), and a stranger."""
    files = {f"test-{n}": tmp_path / f"test-{n}.png" for n in range(6)}
    for n, file in enumerate(files.values()):
        drawing(n).save(file)
    for name, seed in {"copy.png": 0, "again.jpg": 1, "gone.png": 2, "far.png": 9}.items():
        drawing(seed).save(tmp_path / name, quality=80)
        files[name] = tmp_path / name
    return files


def test_touched_are_equal_bytes_and_equal_looks_of_kept_rows(tmp_path: Path, images: dict[str, Path]) -> None:
    kept = {name: images[name] for name in ("copy.png", "again.jpg", "far.png")}
    folder = curated_set(tmp_path / "curated", kept, {"gone.png": images["gone.png"]})
    test = {sha256_file(images[f"test-{n}"]): str(images[f"test-{n}"]) for n in range(6)}
    keys = list(test)
    assert touched_images(folder, test) == {keys[0]: "bytes", keys[1]: "look"}
    (folder / "manifest.json").write_text('{"stage": "evalsuite"}')
    with pytest.raises(UserError, match="is no curated set"):
        touched_images(folder, test)


def test_run_gives_clean_and_touched_scores(tmp_path: Path, tiny_vlm: Path, tiny_task: Path) -> None:
    images = tmp_path / "data" / "images"
    folder = curated_set(tmp_path / "curated", {"a": images / "0.png", "b": images / "3.png"}, {"c": images / "1.png"})
    extra = f"training_set: {folder}\n"
    path = tmp_path / "r.yaml"
    path.write_text(recipe_text("one", tmp_path / "out", tiny_vlm, tiny_task, extra))
    _, scores, _ = run_recipe(path)
    assert scores["contamination"] == {
        "training_set": str(folder), "images": 6, "touched": 2, "by_bytes": 2, "by_look": 0,
    }  # fmt: skip
    entry = scores["tasks"]["tiny"]["contamination"]
    assert (entry["clean"]["n"], entry["touched"]["n"]) == (20, 10), "the row without an image is neither"
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    for part in ("clean", "touched"):
        values = [row["accuracy"] for row in rows if row["slice_contamination"] == part]
        assert entry[part]["accuracy"]["value"] == pytest.approx(sum(values) / len(values))
    difference = entry["touched"]["accuracy"]["value"] - entry["clean"]["accuracy"]["value"]
    assert entry["difference"]["accuracy"]["value"] == pytest.approx(difference)
    for report in ("report.md", "report.html"):
        assert f"10 rows show an image that {folder} kept for training" in (tmp_path / "out" / report).read_text()
    rescore(tmp_path / "out", [])
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == scores
    pq.write_table(pq.read_table(folder / "samples.parquet").slice(0, 1), folder / "samples.parquet")
    assert run_recipe(path)[1]["contamination"]["touched"] == 1, "another training set is another result"


def correction(number: int, action: str, reviewer: str = "ann", **more: object) -> dict:
    return {
        "correction_id": f"c{number}-{reviewer}-{action}", "sample_id": f"made/test/{number}", "action": action,
        "content_hash": f"hash-{number}", "reviewer": reviewer, "at": "2026-01-02T03:04:05Z", **more,
    }  # fmt: skip


def test_corrected_score_stands_beside_the_score(tmp_path: Path) -> None:
    rows = [made_row(n, "red" if n < 4 else "blue") for n in range(10)]
    lines = [
        correction(9, "exclude_from_eval"),
        correction(8, "relabel", new="blue"),
        correction(7, "relabel", new=["blue", "navy"]),
        correction(6, "relabel", new="blue", content_hash="of another row"),
        correction(5, "relabel", new="blue"),
        correction(5, "relabel", reviewer="bob", new="green"),
        correction(4, "edit_question", new="which colour?"),
        correction(3, "drop"),
        correction(77, "exclude_from_eval"),
    ]
    folder = written(tmp_path / "corrections", lines)
    run = write_evaluation(tmp_path / "run", rows, corrections=folder)
    scores = json.loads((run / "scores.json").read_text())
    task = scores["tasks"]["made"]
    assert task["metrics"]["accuracy"]["value"] == pytest.approx(0.4)
    assert task["corrected"]["counts"] == {
        "conflict": 1, "excluded": 1, "question edited": 1, "relabelled": 2, "stale": 1,
    }  # fmt: skip
    assert task["corrected"]["n"] == 8
    assert task["corrected"]["metrics"]["accuracy"]["value"] == pytest.approx(6 / 8)
    assert "accuracy is 75.0" in (run / "report.md").read_text() and "40.0 without" in (run / "report.html").read_text()
    became = json.loads((run / "corrections.json").read_text())["lines"]
    assert became == {
        "c9-ann-exclude_from_eval": "applied", "c8-ann-relabel": "applied", "c7-ann-relabel": "applied",
        "c6-ann-relabel": "stale", "c5-ann-relabel": "conflict", "c5-bob-relabel": "conflict",
        "c4-ann-edit_question": "applied", "c3-ann-drop": "noted", "c77-ann-exclude_from_eval": "elsewhere",
    }  # fmt: skip
    assert "corrections.json" in json.loads((run / "manifest.json").read_text())["outputs"]
    plain = write_evaluation(tmp_path / "plain", rows)
    assert json.loads((plain / "scores.json").read_text())["tasks"]["made"]["corrected"] is None
    assert not (plain / "corrections.json").exists()
    done = CliRunner().invoke(app, ["score", str(plain), "--corrections", str(folder)], env={"COLUMNS": "250"})
    assert "accuracy is 75.0" in done.output, done.output
    assert json.loads((plain / "corrections.json").read_text())["lines"] == became
    rescore(plain, [])
    assert not (plain / "corrections.json").exists(), "what it says would not be so any more"


def written(folder: Path, lines: list[dict]) -> Path:
    folder.mkdir()
    (folder / "ann.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def corrected(tmp_path: Path, *lines: dict) -> tuple[dict, str]:
    """The corrected scores of four right and six wrong answers, and the report."""
    rows = [made_row(n, "red" if n < 4 else "blue") for n in range(10)]
    run = write_evaluation(tmp_path / "run", rows, corrections=written(tmp_path / "corrections", list(lines)))
    return json.loads((run / "scores.json").read_text())["tasks"]["made"]["corrected"], (run / "report.md").read_text()


def test_an_ambiguous_row_leaves_the_corrected_score(tmp_path: Path) -> None:
    entry, report = corrected(tmp_path, correction(9, "ambiguous"), correction(8, "ambiguous"))
    assert entry["counts"] == {"ambiguous": 2} and entry["n"] == 8
    assert entry["metrics"]["accuracy"]["value"] == pytest.approx(4 / 8)
    assert "With reviewers' corrections (2 ambiguous) accuracy is 50.0" in report


def test_a_later_verdict_of_the_same_person_counts_alone(tmp_path: Path) -> None:
    entry, _ = corrected(
        tmp_path, correction(9, "exclude_from_eval"), correction(9, "keep", "Ann ", at="2026-01-03T00:00:00Z"),
        correction(8, "relabel", new="blue"), correction(8, "relabel", "bob", new="Blue."),
        correction(7, "keep"), correction(7, "ambiguous", "bob"),
        correction(7, "ambiguous", "eve", at="2026-01-03T00:00:00Z", settles=["c7-ann-keep", "c7-bob-ambiguous"]),
    )  # fmt: skip
    assert entry["counts"] == {"ambiguous": 1, "confirmed": 1, "relabelled": 1} and entry["n"] == 9
    assert entry["metrics"]["accuracy"]["value"] == pytest.approx(5 / 9)
    became = json.loads((tmp_path / "run" / "corrections.json").read_text())["lines"]
    assert {line: word for line, word in became.items() if word != "applied"} == {
        "c9-ann-exclude_from_eval": "superseded", "c7-ann-keep": "settled",
    }  # fmt: skip


def test_the_report_says_that_corrected_wrong_answers_only_improve_the_score(tmp_path: Path) -> None:
    entry, report = corrected(
        tmp_path, correction(9, "exclude_from_eval"), correction(8, "keep"), correction(0, "drop")
    )
    assert entry["answers"] == {"right": 0, "wrong": 2}
    assert "All 2 rows that they decided on were wrong answers, whose corrections can only improve the score" in report


def test_the_report_says_how_many_right_answers_were_looked_at(tmp_path: Path) -> None:
    entry, report = corrected(tmp_path, correction(9, "exclude_from_eval"), correction(0, "keep"))
    assert entry["answers"] == {"right": 1, "wrong": 1} and "can only improve" not in report
    assert "They decided on 1 right and 1 wrong answers." in report


@pytest.mark.slow
def test_batch_check_says_what_differs(tmp_path: Path, tiny_vlm: Path, tiny_task: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(recipe_text("one", tmp_path / "out", tiny_vlm, tiny_task, "check_batch: 7\n"))
    model = {"path": str(tiny_vlm), "dtype": "float32", "device": "cpu"}
    recipe = EvalRecipe.model_validate({"name": "one", "tasks": ["x"], "batch_size": 2, "model": model})
    found = check_batches(path, 12)
    assert found == {"rows": 12, "failed": 0, "batch_size": 2, "differ": 0, "examples": []}
    assert not (tmp_path / "out").exists(), "a check leaves nothing"
    _, scores, _ = run_recipe(path)
    assert scores["batch_check"] == found | {"rows": 7}
    path.write_text(path.read_text() + f"corrections: {tmp_path}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evalsuite.runs.run.compare_batches", lambda *_: pytest.fail("checked twice"))
        assert run_recipe(path)[1]["batch_check"] == scores["batch_check"]
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Batch check: 0 of 7 answers differ between batches of 1 and of 2." in report

    from dataclasses import replace

    from evalsuite.runs.batch_check import ids_of
    from evalsuite.runs.requests import build_requests, distinct_requests, hash_images
    from evalsuite.tasks.load import load_task
    from evalsuite.tasks.spec import load_spec

    assert recipe.model
    backend = local_backend(recipe, recipe.model)
    task = load_task(load_spec(str(tiny_task)), limit=None, seed=0)
    asked = build_requests(task, hash_images(task), backend.renderer(), backend.identity)
    chosen = distinct_requests(asked)[:3]
    whole = {reply.key: reply for part in backend.replies(chosen, lambda key: False, None) for reply in part}
    whole[chosen[1].key] = replace(whole[chosen[1].key], raw="something else")
    told = compare_batches(backend, recipe, chosen, whole, ids_of(asked))
    assert (told["rows"], told["differ"], told["examples"][0]["in_batch"]) == (3, 1, "something else")
    assert told["examples"][0]["sample_id"] == "tiny/test/0-1"


def test_latex_and_json_of_a_finished_run(tmp_path: Path) -> None:
    rows = [made_row(n, "red" if n < 4 else "blue") for n in range(10)]
    run = write_evaluation(tmp_path / "run_50%", rows)
    runner = CliRunner()
    table = runner.invoke(app, ["report", str(run), "--latex"]).output
    assert r"made & accuracy & 40.0 &" in table and r"100.0 \%" in table and table.strip().endswith(r"\end{tabular}")
    assert json.loads(runner.invoke(app, ["report", str(run), "--json"]).output)["name"] == "run_50%"
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert runner.invoke(app, ["report", str(run)]).exit_code == 0
    assert (run / "report.html").read_bytes() == before
