"""The page of the docs about the study shows the committed results."""

from pathlib import Path

from studies.curation_pays.__main__ import PARTS
from studies.curation_pays.report import PAGE, around_section, read_parts, section
from studies.curation_pays.settings import read_settings
from tests.loop import REPO


def test_the_page_has_the_section_of_the_committed_results(monkeypatch):
    monkeypatch.chdir(REPO)
    results = Path("studies/curation_pays/results")
    before, after = around_section(PAGE)
    text = section(read_parts(results, PARTS), Path("../..") / results)
    assert PAGE.read_text(encoding="utf-8").removeprefix(before).removesuffix(after).count(text) == 1


def test_all_parts_are_of_the_shipped_settings():
    shipped = read_settings(REPO / "studies/curation_pays/settings/full.yaml").model_dump(mode="json")
    report = read_parts(REPO / "studies/curation_pays/results", PARTS)
    assert {name: one.get("settings") for name, one in report.items()} == dict.fromkeys(PARTS, shipped)
