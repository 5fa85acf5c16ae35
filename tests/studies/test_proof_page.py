"""The page of the docs about the study shows the committed results."""

from pathlib import Path

from studies.demo.__main__ import PARTS
from studies.demo.report import PAGE, around_section, headline, read_parts, section
from studies.demo.settings import read_settings
from tests.loop import REPO


def test_the_page_has_the_section_of_the_committed_results(monkeypatch):
    monkeypatch.chdir(REPO)
    results = Path("studies/demo/results")
    before, after = around_section(PAGE)
    text = section(read_parts(results, PARTS), Path("..") / results)
    assert PAGE.read_text(encoding="utf-8").removeprefix(before).removesuffix(after).count(text) == 1


def test_the_table_of_studies_has_the_result():
    main = read_parts(REPO / "studies/demo/results", PARTS)["main"]
    assert headline(main) in (REPO / PAGE).read_text(encoding="utf-8")


def test_the_comparisons_are_those_of_the_shipped_settings():
    shipped = read_settings(REPO / "studies/demo/settings/full.yaml").model_dump(mode="json")
    main = read_parts(REPO / "studies/demo/results", PARTS)["main"]
    assert main["settings"] == shipped
    assert [one["rates"] for one in main["comparisons"]] == shipped["comparisons"]
