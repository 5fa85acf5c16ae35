"""The page about the proof shows what the committed results hold."""

from studies.curation_pays.__main__ import PARTS
from studies.curation_pays.report import PAGE, PLOTS, around_section, read_parts, section
from studies.curation_pays.settings import read_settings
from tests.loop import REPO


def test_the_page_has_the_section_of_the_committed_results():
    results = (REPO / PAGE).parent / PLOTS
    text = section(read_parts(results, PARTS), PLOTS)
    before, after = around_section(REPO / PAGE)
    written = (REPO / PAGE).read_text(encoding="utf-8").removeprefix(before).removesuffix(after)
    assert "\n".join(written.splitlines()[1:-1]) + "\n" == text
    assert all((results / name).is_file() for name in ("main.png", "sweep.png", "rules.png", "blur.png", "copies.png"))


def test_all_parts_are_of_the_shipped_settings():
    shipped = read_settings(REPO / "studies/curation_pays/settings/full.yaml").model_dump(mode="json")
    report = read_parts(REPO / "studies/curation_pays/results", PARTS)
    assert {name: one.get("settings") for name, one in report.items()} == dict.fromkeys(PARTS, shipped)
