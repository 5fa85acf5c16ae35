"""What a proof's settings refuse, before hours of work."""

from pathlib import Path

import pytest
import yaml

from studies.demo.settings import Comparison, read_settings
from tests.loop import REPO
from winnow.demo.defects import CORRUPT, Shares
from winnow.errors import UserError

AT = {"pictures": 0.1, "answers": 0.2, "trainings": 2}
SETTINGS = {"comparisons": [AT], "training": {"steps": 1, "batch_size": 2}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"comparisons": []}, "comparisons"),
        ({"comparisons": [{**AT, "answers": 1.2}]}, "answers"),
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


def test_every_defect_has_its_share():
    shares = Comparison.model_validate(AT).shares().named()
    assert shares.keys() == Shares().named().keys()
    assert shares["leaked"] == shares["blurred"] == 0.1 and shares["wrong_answer"] == shares["contradictory"] == 0.2
    assert sum(shares[name] for name in CORRUPT) == pytest.approx(0.1)
