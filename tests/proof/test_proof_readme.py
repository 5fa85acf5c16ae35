"""What README says about the proof is what the committed results say."""

from pathlib import Path

from proof.__main__ import PARTS
from proof.report import read_parts
from proof.section import section
from proof.settings import read_settings
from tests.loop import REPO


def test_the_readme_has_the_section_of_the_committed_results():
    text = section(read_parts(REPO / "data/proof", PARTS), Path("data/proof"))
    assert text in (REPO / "README.md").read_text(encoding="utf-8")


def test_all_parts_are_of_the_shipped_settings():
    shipped = read_settings(REPO / "proof/settings/full.yaml").model_dump(mode="json")
    report = read_parts(REPO / "data/proof", PARTS)
    assert {name: one.get("settings") for name, one in report.items()} == dict.fromkeys(PARTS, shipped)
