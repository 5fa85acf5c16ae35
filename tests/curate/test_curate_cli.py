"""The console script: what it prints, exit code 2 and one sentence for bad input, quick help."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from curate import cli
from tests.curate import sets
from tests.curate.test_pipeline import full, make


def curate(capsys, monkeypatch, *arguments):
    """Exit code, standard output and standard error of ``curate …``."""
    monkeypatch.setattr(sys, "argv", ["curate", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        cli.main()
        raise SystemExit(0)
    printed = capsys.readouterr()
    return ended.value.code or 0, printed.out, printed.err


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    from curate import pipeline

    folder = tmp_path_factory.mktemp("cli")
    make(folder)
    pipeline.run(full(folder), "recipe.yaml")
    written = full(folder).model_dump(mode="json", exclude_defaults=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    return folder


@pytest.mark.slow
def test_run_and_decide_print_the_funnel(done, capsys, monkeypatch):
    code, out, _ = curate(capsys, monkeypatch, "run", done / "recipe.yaml")
    assert code == 0
    assert "is up to date, nothing to do" in out
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert lines["tiny"].split()[1:4] == ["drop", "1", "7"]
    assert lines["out"].split()[1:3] == ["5", "45.5%"]
    assert "kept 2, flagged 3 (kept too), dropped 6 of 11 rows" in out
    code, out, _ = curate(capsys, monkeypatch, "decide", done / "recipe.yaml")
    assert code == 0
    assert "nothing to do" not in out
    assert "kept 2, flagged 3 (kept too), dropped 6 of 11 rows" in out


def test_export_plot_and_diff_take_a_folder_or_its_recipe(done, capsys, monkeypatch):
    for given in ("out", "recipe.yaml"):
        code, out, _ = curate(capsys, monkeypatch, "export", done / given, "--to", "trl", "--out", done / "sent")
        assert code == 0
        assert "5 rows (train 5), 5 images; README.md says how to load it" in out
    assert "is up to date" in out
    code, out, _ = curate(capsys, monkeypatch, "diff", done / "out", done / "recipe.yaml")
    assert code == 0
    assert "0 rows changed, 11 did not" in out
    for arguments, sentence in (
        (("export", done / "out", "--to", "tlr"), "curate export: to:"),
        (("export", done / "out", "--to", "webdataset", "--images", "path"), "webdataset holds the images"),
        (("export", done / "images", "--to", "trl"), "has no manifest.json"),
        (("export", done / "sent", "--to", "trl"), "was not made by `curate run`"),
        (("plot", done / "images"), "has no manifest.json"),
    ):
        code, _, err = curate(capsys, monkeypatch, *arguments)
        assert code == 2
        assert sentence in err
        assert "Traceback" not in err


@pytest.mark.parametrize("given", ["out", "recipe.yaml"])
def test_explain_shows_every_rule_in_order(done, capsys, monkeypatch, given):
    code, out, _ = curate(capsys, monkeypatch, "explain", "set/train/2", "--curated", done / given)
    assert code == 0
    assert "set/train/2  drop by duplicate" in out
    rules = [line.split()[:2] for line in out.splitlines() if line.startswith(("●", "○"))]
    assert rules == [
        ["○", "bad_row"], ["○", "unreadable"], ["○", "tiny"], ["○", "shouting"], ["○", "contaminated"],
        ["○", "leak_suspected"], ["○", "contaminated_text"], ["○", "conflicting"], ["●", "duplicate"],
        ["○", "edited_copy"],
    ]  # fmt: skip
    assert "width = 64" in out
    assert "duplicate: see set/train/1" in out
    assert "(at most 4 counts as the same), their hashes in" in out


def test_explain_shows_where_a_image_is_held(done, capsys, monkeypatch):
    _, out, _ = curate(capsys, monkeypatch, "explain", "set/train/9", "--curated", done / "out")
    assert "held/out: same image as held.png (re-encoded: thumbnails differ by" in out
    assert "where the same question is asked; see held/out/1" in out


def test_signals_lists_columns(capsys, monkeypatch):
    code, out, _ = curate(capsys, monkeypatch, "signals")
    assert code == 0
    for name in ("sharpness", "clip_alignment", "duplicate_distance", "votes"):
        assert name in out


def test_inspect(done, capsys, monkeypatch):
    code, out, _ = curate(capsys, monkeypatch, "inspect", done / "rows.jsonl", "--image-root", done / "images")
    assert code == 0
    assert "conversations" in out
    code, _, err = curate(capsys, monkeypatch, "inspect", done / "rows.jsonl", "--as", "vqq")
    assert code == 2
    assert "unknown layout 'vqq'" in err


def write(folder, **changes):
    values = {"name": "x", "out": str(folder / "out"), "sources": [{"location": str(folder / "rows.jsonl")}], **changes}
    path = folder / "bad.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ruels": {}}, "unknown key 'ruels'; did you mean rules?"),
        ({"duplicates": {"radios": 4}}, "unknown key 'duplicates.radios'; did you mean radius?"),
        ({"duplicates": {"radius": 17}}, "duplicates.radius"),
        (
            {"rules": {"a": {"when": "sharpnes < 1", "action": "drop"}}},
            "rule 'a': unknown column 'sharpnes'; did you mean",
        ),
        ({"rules": {"a": {"when": "true", "action": "burn"}}}, "rules.a.action"),
        ({"rules": {"a b'": {"when": "true", "action": "drop"}}}, "a name has letters"),
        ({"rules": {"a": {"when": "read_text('x') = 'y'", "action": "drop"}}}, "function 'read_text' is not allowed"),
        ({"name": "../x"}, "a name has letters"),
        ({"sources": []}, "sources"),
        ({"sources": [{"location": "nowhere.jsonl"}]}, "nowhere.jsonl: no such file"),
        ({"contamination": {"against": [{"location": "nowhere.jsonl"}]}}, "nowhere.jsonl"),
        ({"losses": ["nowhere.parquet"]}, "nowhere.parquet: not readable as losses.parquet"),
    ],
)
def test_bad_recipes_are_one_sentence_and_leave_nothing(tmp_path, capsys, monkeypatch, changes, sentence):
    sets.save(tmp_path / "images/a.png", sets.scene(1))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "images/a.png")])
    code, _, err = curate(capsys, monkeypatch, "run", write(tmp_path, **changes))
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert sentence in last
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists(), "found out before anything was read or measured"


def test_other_bad_input(done, tmp_path, capsys, monkeypatch):
    for arguments, sentence in (
        (("run", tmp_path / "none.yaml"), "none.yaml: no such recipe"),
        (("explain", "set/train/99", "--curated", done / "out"), "no row 'set/train/99'; did you mean set/train/9"),
        (("explain", "x", "--curated", tmp_path), "has no manifest.json, so its run did not finish"),
        (("explain", "x", "--curated", tmp_path / "none"), "no such folder"),
        (("decide", write(tmp_path)), "nothing is measured there yet; run `curate run"),
    ):
        code, _, err = curate(capsys, monkeypatch, *arguments)
        assert code == 2, arguments
        assert sentence in err
        assert "Traceback" not in err


def test_usage_errors_exit_with_2(capsys, monkeypatch):
    for arguments in (("run",), ("frobnicate",), ("run", "x.yaml", "--workers", "0"), ("explain", "x")):
        assert curate(capsys, monkeypatch, *arguments)[0] == 2


def test_help_teaches_and_loads_nothing_heavy():
    code = (
        "import sys, curate.cli; from typer.testing import CliRunner;"
        "r = CliRunner().invoke(curate.cli.app, ['--help']); print(r.output);"
        "heavy = {'torch', 'duckdb', 'pyarrow', 'numpy', 'PIL', 'pandas'} & set(sys.modules);"
        "assert r.exit_code == 0 and not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for word in ("run", "decide", "explain", "diff", "plot", "export", "inspect", "signals", "Example"):
        assert word in done.stdout


@pytest.mark.slow
def test_text_of_the_dataset_stays_text(tmp_path, capsys, monkeypatch):
    """Neither rich markup in the terminal, nor Markdown or HTML in the card."""
    evil = "[red]x[/] <img src=x onerror=alert(1)> | **b** `c` [l](http://x)!"
    sets.save(tmp_path / "images/a.png", sets.scene(1))
    sets.write_lines(
        tmp_path / "rows.jsonl", [sets.row(1, "a.png", evil, evil), sets.row(2, "a.png", evil + "2", evil)]
    )
    recipe = sets.write_recipe(tmp_path)
    assert curate(capsys, monkeypatch, "run", recipe)[0] == 0
    code, out, _ = curate(capsys, monkeypatch, "explain", "set/train/1", "--curated", tmp_path / "out")
    assert code == 0
    assert "[red]x[/] <img" in out
    card = (tmp_path / "out/README.md").read_text()
    assert "<img src=x" not in card
    assert "[l](http" not in card
    assert "**b**" not in card
    assert json.loads((tmp_path / "out/samples.jsonl").read_text().splitlines()[0])["conversations"][0]["value"] == evil


def test_a_run_whose_reader_goes_ends_all_the_same(tmp_path):
    sets.save(tmp_path / "images/0.png", sets.scene(0))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(0, "0.png")])
    (tmp_path / "r.yaml").write_text("name: r\nout: out\nsources: [{location: rows.jsonl, image_root: images}]\n")
    command = f"{sys.executable} -m curate run r.yaml 2>&1 | head -1"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    shown = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert shown.stdout.startswith("read: 1")
    assert (tmp_path / "out/manifest.json").is_file()
