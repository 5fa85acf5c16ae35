"""HallusionBench as it ships, judged by the lines that its file shows, from its published columns to the report."""

import sys
from pathlib import Path

from scripted import scripted, write_recipe

from evalsuite.runs.run import run_recipe
from evalsuite.tasks.spec import shipped_tasks

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))
import benchmark_rows


def shown_lines(task: str) -> str:
    """The task file that the comments of a shipped task show."""
    lines = [line[4:] for line in shipped_tasks()[task].read_text().splitlines() if line.startswith("#   ")]
    assert lines[0] == f"base: {task}"
    return "\n".join(lines) + "\n"


def test_hallusion_bench_is_judged_as_its_file_shows(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    benchmark_rows.write("hallusion_bench", tmp_path / "data/raw")
    Path("judged.yaml").write_text(shown_lines("hallusion_bench"))

    def judge(text: str) -> str:
        assert "Reference answer: d\n" in text, "the detailed answer of the row"
        said = text.split("<prediction>\n")[1].split("\n</prediction>")[0]
        return "unclear" if "illusion" in said else "correct" if "Yes" in said else "Incorrect."

    # four of the seven questions are about lines
    with (
        scripted(lambda text: "Yes" if "line" in text else "An illusion") as model,
        scripted(judge, "umpire") as judging,
    ):
        recipe = write_recipe(tmp_path / "r.yaml", model.url, Path("judged.yaml"), tmp_path / "out", judging.url)
        folder, scores, _ = run_recipe(recipe)
    entry = scores["tasks"]["hallusion_bench"]
    assert entry["headline"] == "judge" and entry["metrics"]["judge"]["value"] == 4 / 7
    assert entry["metrics"]["aacc"]["value"] == 2 / 7, "two of the four yes are right; the rest says neither"
    assert entry["judge"]["statuses"] == {"ok": 7, "unparsed": 0, "no_reply": 0, "failed": 0}
    assert "rubric hallusion_bench" in (folder / "report.md").read_text()
