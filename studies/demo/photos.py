"""Blur and copies on real photographs: Winnow beside CleanVision and imagededup, on the same images.

The images are tiles of the photographs that scikit-image and scikit-learn ship. The other tools run with their
defaults (``pip install 'winnow-vlm[peers]'``).
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from curate.duplicates.images.fingerprints import ImageFingerprints, compare
from curate.settings.copies import MatchSettings
from curate.signals import measure_pixels
from studies.demo.copies import EDITED, KINDS, RE_ENCODED, different_pairs, fingerprints_of
from winnow.demo.truth import ranking
from winnow.errors import UserError

SIGMAS = (0.7, 1.0, 1.5, 2.0, 3.0)  # of Gaussian blur, pixels of an image 256 pixels wide
RADII = tuple(range(17))
_COPIES = ("JPEG, quality 60", "WebP, quality 60", "half as wide", "watermark")


def photo_report(count: int) -> dict[str, Any]:
    """Both studies on ``count`` images of each kind.

    Raises:
        UserError: a peer is not installed.
    """
    try:
        import cleanvision  # noqa: F401
        import imagededup  # noqa: F401
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: pip install 'winnow-vlm[peers]'") from error
    return {
        "peers": {name: version(name) for name in ("cleanvision", "imagededup")},
        "blur": blur_study(count),
        "copies": copy_study(count),
    }


def blur_study(count: int) -> dict[str, Any]:
    """How well each score ranks blurred photographs before sharp images, by strength of the blur.

    The sharp images are the photographs, re-encoded and watermarked copies of them, and drawings and pages of text,
    which have large flat areas.
    """
    photos = KINDS["photographs"](count, np.random.default_rng(0))
    sharp = {"photographs": photos}
    sharp |= {f"photographs, {name}": [{**RE_ENCODED, **EDITED}[name](photo) for photo in photos] for name in _COPIES}
    sharp |= {kind: KINDS[kind](count, np.random.default_rng(0)) for kind in ("drawings", "pages")}
    blurred = {sigma: [photo.filter(ImageFilter.GaussianBlur(sigma)) for photo in photos] for sigma in SIGMAS}
    groups = {**sharp, **{f"blur {sigma:g}": blurred[sigma] for sigma in SIGMAS}}
    report: dict[str, Any] = {"sharp": {name: len(images) for name, images in sharp.items()}, "sigmas": {}}
    scores = {"winnow": sharpness(groups), "cleanvision": _cleanvision(groups)}
    for sigma in SIGMAS:
        report["sigmas"][f"{sigma:g}"] = {
            tool: {
                against: _separation(by_group[f"blur {sigma:g}"], np.concatenate([by_group[name] for name in names]))
                for against, names in {
                    "photographs": [name for name in sharp if name.startswith("photographs")],
                    "all sharp images": list(sharp),
                }.items()
            }
            for tool, by_group in scores.items()
        }
    return report


def _separation(blurred: np.ndarray, sharp: np.ndarray) -> dict[str, float]:
    """``ranking`` of low scores, with the blurred images as positives."""
    positive = np.repeat([True, False], [len(blurred), len(sharp)])
    return ranking(-np.concatenate([blurred, sharp]), positive)


def sharpness(groups: dict[str, list[Image.Image]]) -> dict[str, np.ndarray]:
    """Winnow's sharpness of every image, by group; 1e9 where it is null, since then no rule fires."""

    def of_image(image: Image.Image) -> float:
        found = measure_pixels(image, ("sharpness",))
        value = found["sharpness_coarse"] if found["sharpness"] is None else found["sharpness"]
        return 1e9 if value is None else float(value)

    return {name: np.array([of_image(image) for image in images]) for name, images in groups.items()}


def _cleanvision(groups: dict[str, list[Image.Image]]) -> dict[str, np.ndarray]:
    """CleanVision's blurry score of every image, from lossless files."""
    from cleanvision import Imagelab

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        files = _written(groups, Path(folder))
        lab = Imagelab(filepaths=[file for listed in files.values() for file in listed], verbose=False)
        lab.find_issues({"blurry": {}}, n_jobs=1, verbose=False)
        score = lab.issues["blurry_score"]
        return {name: np.array([score[file] for file in listed]) for name, listed in files.items()}


def _written(groups: dict[str, list[Image.Image]], folder: Path) -> dict[str, list[str]]:
    """Write the images as PNG files; their paths by group."""
    files: dict[str, list[str]] = {}
    for number, (name, images) in enumerate(groups.items()):
        (folder / str(number)).mkdir()
        files[name] = [str(folder / str(number) / f"{k}.png") for k in range(len(images))]
        for image, file in zip(images, files[name], strict=True):
            image.save(file, compress_level=1)
    return files


def copy_study(count: int) -> dict[str, Any]:
    """By radius: share of re-encoded copies found and pairs of different images joined; recall by alteration."""
    report: dict[str, Any] = {}
    for kind, make in KINDS.items():
        images = make(count, np.random.default_rng(0))
        different = different_pairs(images)
        hashes: dict[str, Callable[[list[Image.Image]], np.ndarray]]
        hashes = {f"imagededup {name}": _peer_hash(name) for name in ("PHash", "DHash")}
        fingerprints = {"originals": fingerprints_of(images)}
        bits = {name: {"originals": hashed(images)} for name, hashed in hashes.items()}
        for name, alter in {**RE_ENCODED, **EDITED}.items():
            copies = [alter(image) for image in images]  # one alteration at a time: all of them are gigabytes
            fingerprints[name] = fingerprints_of(copies)
            for tool, hashed in hashes.items():
                bits[tool][name] = hashed(copies)
        tools = {"winnow": our_distances(fingerprints, different)}
        tools |= {name: _peer_distances(of_tool, different) for name, of_tool in bits.items()}
        report[kind] = {"pairs": len(different[0]), "tools": {name: _rates(found) for name, found in tools.items()}}
    return report


def our_distances(
    fingerprints: dict[str, ImageFingerprints], different: tuple[np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    """The smallest radius at which each pair counts as the same image; 99 where the thumbnails differ."""
    settings = MatchSettings(radius=16)

    def radius(a: ImageFingerprints, i: np.ndarray, b: ImageFingerprints, j: np.ndarray) -> np.ndarray:
        bits = np.minimum(np.bitwise_count(a.phash[i] ^ b.phash[j]), np.bitwise_count(a.dhash[i] ^ b.dhash[j]))
        return np.where(compare(a, i, b, j, settings).confirmed(settings), bits, 99)

    originals = fingerprints["originals"]
    own = np.arange(len(originals.phash))
    found = {name: radius(originals, own, one, own) for name, one in fingerprints.items() if name != "originals"}
    return {**found, "different": radius(originals, different[0], originals, different[1])}


def _peer_hash(method: str) -> Callable[[list[Image.Image]], np.ndarray]:
    """A function from images to imagededup's hashes of them, (n,) uint64."""
    from imagededup import methods

    hasher = getattr(methods, method)(verbose=False)
    return lambda images: np.array(
        [int(hasher.encode_image(image_array=np.asarray(image)), 16) for image in images], np.uint64
    )


def _peer_distances(bits: dict[str, np.ndarray], different: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    """Hamming distances of imagededup's hashes."""
    originals = bits["originals"]
    found = {name: np.bitwise_count(originals ^ one) for name, one in bits.items() if name != "originals"}
    return {**found, "different": np.bitwise_count(originals[different[0]] ^ originals[different[1]])}


def _rates(distances: dict[str, np.ndarray]) -> dict[str, Any]:
    copies = np.concatenate([distances[name] for name in RE_ENCODED])
    return {
        "found_by_radius": [float((copies <= radius).mean()) for radius in RADII],
        "joined_by_radius": [int((distances["different"] <= radius).sum()) for radius in RADII],
        "found_by_alteration": {
            name: {str(radius): float((distances[name] <= radius).mean()) for radius in (4, 8, 10)}
            for name in {**RE_ENCODED, **EDITED}
        },
    }
