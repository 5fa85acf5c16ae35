"""The study of photographs on few pictures: both peers run."""

import pytest

from proof.copies import EDITED, STORED_ANEW
from proof.photos import SIGMAS, blur_study, copy_study

pytest.importorskip("imagededup")
pytest.importorskip("cleanvision")


def test_copies_of_each_alteration_are_compared_with_their_originals():
    report = copy_study(8)
    assert report.keys() == {"photographs", "drawings", "pages", "forms"}
    for one in report.values():
        assert one["tools"].keys() == {"winnow", "imagededup PHash", "imagededup DHash"}
        for tool in one["tools"].values():
            assert tool["found_by_alteration"].keys() == {*STORED_ANEW, *EDITED}
            assert tool["found_by_radius"] == sorted(tool["found_by_radius"])
            assert tool["joined_by_radius"] == sorted(tool["joined_by_radius"])
            assert tool["found_by_alteration"]["JPEG, quality 90"]["10"] == 1.0
            assert tool["found_by_alteration"]["turned by 90 degrees"]["4"] < 0.5
    assert all(one["tools"]["winnow"]["joined_by_radius"][8] == 0 for one in report.values())


def test_the_stronger_the_blur_the_better_it_is_found():
    sigmas = blur_study(8)["sigmas"]
    ours = [sigmas[f"{sigma:g}"]["winnow"]["photographs"]["roc_auc"] for sigma in SIGMAS]
    assert ours == sorted(ours) and ours[-1] > 0.9
