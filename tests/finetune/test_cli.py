"""The command line: help that teaches, one sentence for bad input, preview."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import pytest
import yaml

from tests.forks import python


def run(*arguments: str) -> subprocess.CompletedProcess:
    return called([sys.executable, "-m", "finetune", *arguments])


def called(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_needs_no_heavy_library():
    code = "import sys, finetune.cli; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert "exact resume" in run("--help").stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "preview", "train"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learnin_rate": 1}, "did you mean learning_rate"),
        ({"data": "nowhere"}, "nowhere: no such folder"),
        ({"model": "data/models/nowhere"}, "data/models/nowhere: no such folder"),
    ],
)
def test_wrong_keys_and_paths_are_refused_without_torch(recipe_of, tmp_path, command, changes, words):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe_of().model_dump(mode="json"), **changes}))
    # A module that is None in sys.modules cannot be imported.
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
        f"sys.argv = ['finetune', {command!r}, {str(path)!r}]; from finetune.cli import main; main()"
    )
    done = called([sys.executable, "-c", code])
    _is_one_sentence(done, words)
    assert not (tmp_path / "run").exists()


def _is_one_sentence(done: subprocess.CompletedProcess, words: str) -> None:
    assert done.returncode == 2
    assert words in done.stderr and done.stderr.startswith("error: ") and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_model_that_does_not_load_ends_with_one_sentence(recipe_of, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe_of().model_dump(mode="json"), "model": "nowhere/model"}))
    _is_one_sentence(called(python("-m", "finetune", "train", str(path))), "is not in the cache")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "changes", "code"),
    [("plan", {"report_to": ["wandbb"]}, 2), ("preview", {}, 0), ("train", {"max_steps": 1}, 0)],
)
@pytest.mark.slow
def test_libraries_print_nothing_of_their_own(recipe_of, tmp_path, command, changes, code):
    """bitsandbytes complains about the package kernels unless it is blocked before; a reporter is checked early."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe_of().model_dump(mode="json"), **changes}))
    done = run(command, str(path))
    assert done.returncode == code
    assert ("report_to: wandbb" in done.stderr) == (command == "plan")
    assert "kernels" not in done.stdout + done.stderr


def test_preview(recipe_of, tmp_path, capsys):
    from finetune.report.preview import preview

    page = tmp_path / "page.html"
    recipe = recipe_of(questions_per_image=3)
    preview(recipe, per_source=1, page=page, rejects=tmp_path / "rejects.jsonl")
    printed = capsys.readouterr().out
    assert "<image><image>" not in printed and "<image>×5" in printed and "stop token: yes" in printed
    assert "toy: " in printed and "captions: " in printed

    class Spans(HTMLParser):
        found: list = []  # noqa: RUF012
        kind = None

        def handle_starttag(self, tag, attrs):
            self.kind = dict(attrs).get("class") if tag == "span" else None

        def handle_data(self, data):
            if self.kind:
                self.found.append((self.kind, data))

        def handle_endtag(self, tag):
            self.kind = None

    parser = Spans()
    parser.feed(page.read_text())
    trained = "".join(text for kind, text in parser.found[1:] if kind == "t")
    assert "<|im_end|>" in trained and "what color" not in trained and "square?" not in trained


def test_html_is_escaped():
    from finetune.report.preview import TokenPreview, as_html

    page = as_html("<b>", [TokenPreview(("<script>",), "s", (("<img onerror=x>", True, 1),), True, (), 0)])
    assert "<script>" not in page and "<img" not in page and "&lt;img onerror=x&gt;" in page


@pytest.mark.slow
def test_max_reject_on_the_command_line(recipe_of, toy_data, tmp_path, capsys):
    """One row in 43 has no answer: 1% is too strict, 5% is not; exit code 2 names the reasons."""
    import json

    bad = {"id": "bad", "conversations": [{"from": "user", "value": "?"}]}
    data = tmp_path / "rows.jsonl"
    data.write_text(toy_data.read_text() + json.dumps(bad) + "\n")
    path = tmp_path / "recipe.yaml"
    recipe = recipe_of(data=data, image_root=toy_data.parent)
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    strict = called(python("-m", "finetune", "plan", str(path), "--max-reject", "0.01"))
    assert strict.returncode == 2
    assert "1 of 43 rows cannot be trained (no_answer 1), max_reject is 1%" in " ".join(strict.stderr.split())
    from finetune.cli import _load
    from finetune.training.run import dry_run

    assert dry_run(_load(path, 0.05), tmp_path)
    assert "42 rows accepted, 1 rejected (no_answer 1)" in capsys.readouterr().out
