"""What a proof's settings refuse, before hours of work."""

from pathlib import Path

import pytest
import yaml

from studies.demo.settings import BROKEN, DEFECTS, Rates, read_settings
from tests.loop import REPO
from winnow.demo.defects import CORRUPT
from winnow.errors import UserError

SETTINGS = {"trainings": 2, "rates": {"pictures": 0.1, "answers": 0.2}, "training": {"steps": 1, "batch_size": 2}}
ALONE = {"defects": ["blurred"], "trainings": 2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alone": {**ALONE, "defects": ["blured"]}}, "no defect is called 'blured'; choose from blurred"),
        ({"alone": {**ALONE, "trainings": 3}}, "cannot have more trainings"),
        ({"ideal": 3}, "cannot have more trainings"),
        ({"kinds": ["colour"]}, "kinds"),
        ({"trainig": {}}, "did you mean training"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict, words: str):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, **changes}))
    with pytest.raises(UserError, match=words):
        read_settings(path)


@pytest.mark.parametrize("name", ["full", "quick"])
def test_shipped_settings_are_valid(name: str):
    assert read_settings(REPO / f"studies/demo/settings/{name}.yaml").training.rows


def test_one_defect_keeps_its_rate():
    rates = Rates(pictures=0.1, answers=0.2)
    together = rates.together().named()
    assert together["leaked"] == together["blurred"] == 0.1 and together["wrong_answer"] == 0.2
    assert sum(together[name] for name in CORRUPT) == pytest.approx(0.1)
    for defect in DEFECTS:
        alone = rates.alone(defect).named()
        names = CORRUPT if defect == BROKEN else (defect,)
        assert {name for name, share in alone.items() if share} == {*names}
        assert all(alone[name] == together[name] for name in names)
