"""What a proof's settings refuse, before hours of work."""

from pathlib import Path

import pytest
import yaml

from studies.curation_pays.settings import read_settings
from tests.loop import REPO
from winnow.errors import UserError

SWEEP = {"defects": ["blurred"], "rates": [0.1]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sweep": {**SWEEP, "defects": ["blured"]}}, "no defect is called 'blured'; choose from blurred"),
        ({"sweep": {**SWEEP, "seeds": [3]}}, "sweep: seed 3 is compared with arms of that seed"),
        ({"second_turn": {"seeds": [0, 7]}}, "second_turn: seed 7"),
        ({"asked": ["colour"]}, "asked"),
        ({"trainings": {}}, "did you mean training"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict, words: str):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({"seeds": [0], "training": {"steps": 1}, **changes}))
    with pytest.raises(UserError, match=words):
        read_settings(path)


@pytest.mark.parametrize("name", ["full", "quick"])
def test_shipped_settings_are_valid(name: str):
    settings = read_settings(REPO / f"studies/curation_pays/settings/{name}.yaml")
    assert settings.sweep and settings.second_turn
