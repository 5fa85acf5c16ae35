"""The study of photographs on few images: our half always, the peers' where they are installed."""

import numpy as np
import pytest

from studies.demo.copies import EDITED, KINDS, RE_ENCODED, different_pairs, fingerprints_of
from studies.demo.photos import RADII, SIGMAS, blur_study, copy_study, our_distances, sharpness


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_our_radius_finds_what_was_stored_anew_and_joins_nothing(kind):
    images = KINDS[kind](8, np.random.default_rng(0))
    altered = {name: [alter(one) for one in images] for name, alter in {**RE_ENCODED, **EDITED}.items()}
    fingerprints = {name: fingerprints_of(of_name) for name, of_name in {"originals": images, **altered}.items()}
    found = our_distances(fingerprints, different_pairs(images))
    assert found.keys() == {*RE_ENCODED, *EDITED, "different"}
    assert (found["JPEG, quality 90"] <= 8).all()
    assert (found["rotated by 90 degrees"] > 8).sum() >= 4
    assert (found["different"] > 8).all() and len(found["different"]) > 0


def test_blur_takes_our_sharpness_down():
    photos = KINDS["photographs"](8, np.random.default_rng(0))
    blurred = [one.resize((32, 32)).resize((256, 256)) for one in photos]
    found = sharpness({"sharp": photos, "blurred": blurred})
    assert (found["blurred"] <= found["sharp"]).all()  # some tiles are out of focus as they are
    assert np.median(found["blurred"]) < 0.8 * np.median(found["sharp"])


def test_the_peers_are_asked_about_the_same_copies():
    pytest.importorskip("imagededup")
    report = copy_study(8)
    assert report.keys() == KINDS.keys()
    for one in report.values():
        assert one["tools"].keys() == {"winnow", "imagededup PHash", "imagededup DHash"}
        for tool in one["tools"].values():
            assert tool["found_by_alteration"].keys() == {*RE_ENCODED, *EDITED}
            assert len(tool["found_by_radius"]) == len(RADII)
            assert tool["found_by_radius"] == sorted(tool["found_by_radius"])
            assert tool["joined_by_radius"] == sorted(tool["joined_by_radius"])
            assert tool["found_by_alteration"]["JPEG, quality 90"]["10"] == 1.0
            assert tool["found_by_alteration"]["rotated by 90 degrees"]["4"] < 0.5


def test_the_stronger_the_blur_the_better_it_is_found():
    pytest.importorskip("cleanvision")
    sigmas = blur_study(8)["sigmas"]
    ours = [sigmas[f"{sigma:g}"]["winnow"]["photographs"]["roc_auc"] for sigma in SIGMAS]
    assert ours == sorted(ours) and ours[-1] > 0.9
    assert all(0 <= one["cleanvision"]["photographs"]["roc_auc"] <= 1 for one in sigmas.values())
