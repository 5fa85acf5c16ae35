"""What README says about the proof is what the committed results say."""

from pathlib import Path

from studies.curation_pays.__main__ import PARTS
from studies.curation_pays.report import read_parts, section
from studies.curation_pays.settings import read_settings
from tests.loop import REPO


def test_the_readme_has_the_section_of_the_committed_results():
    text = section(read_parts(REPO / "studies/curation_pays/results", PARTS), Path("studies/curation_pays/results"))
    assert text in (REPO / "README.md").read_text(encoding="utf-8")


def test_all_parts_are_of_the_shipped_settings():
    shipped = read_settings(REPO / "studies/curation_pays/settings/full.yaml").model_dump(mode="json")
    report = read_parts(REPO / "studies/curation_pays/results", PARTS)
    assert {name: one.get("settings") for name, one in report.items()} == dict.fromkeys(PARTS, shipped)
