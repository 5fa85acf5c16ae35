import json

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from curate.measure.images import measure_images
from curate.rules.columns import create_facts, known_columns
from curate.settings.signals import MeasureSettings
from curate.signals import PIXEL_SIGNALS, measure_pixels
from curate.signals.base import words_of
from curate.signals.cleanvision import _SAMPLE, _colours, grey_percentile
from curate.views import create_views
from tests.curate.make_images import noise, shape
from tests.curate.signals.cleanvision_scores import SCORES, STORED, peer_scores, write_images
from tests.curate.stored import image, sample, store
from winnow.media.images import decode_whole

CLOSE = {"rel": 1e-12, "abs": 1e-12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


def ours(folder):
    found = {}
    for path in sorted(folder.iterdir()):
        decoded = decode_whole(path.read_bytes(), max_bytes=10**8, max_pixels=10**8)
        found[path.name] = measure_pixels(decoded.image, ["cleanvision"], decoded.original)
    return found


def check(found, theirs):
    assert found.keys() == theirs.keys()
    for name, scores in found.items():
        expected = {score: value for score, value in theirs[name].items() if score in scores}
        assert scores == pytest.approx(expected, **CLOSE), name


def test_scores_equal_cleanvisions_stored_ones(folder):
    check(ours(folder), json.loads(STORED.read_text())["scores"])


def test_scores_equal_the_installed_cleanvisions(folder):
    pytest.importorskip("cleanvision", reason="pip install cleanvision")
    check(ours(folder), peer_scores(folder))


def test_odd_size_equals_cleanvisions(folder, tmp_path):
    theirs = {name: scores["odd_size_score"] for name, scores in json.loads(STORED.read_text())["scores"].items()}
    images = []
    for name in theirs:
        width, height = Image.open(folder / name).size
        images.append(image(name, width=width, height=height))
    rows = [sample(f"{ask}/{name}", [name]) for name in theirs for ask in range(2)]  # however many ask, it counts once
    images.append(image("unreadable", width=9000, height=9000, phash=None))
    space = store(tmp_path / "set", [*rows, sample("0/unreadable", ["unreadable"])], images)
    with duckdb.connect() as connection:
        create_views(connection, space)
        create_facts(connection, ["sample_id", "odd_size_score"])
        found = dict(connection.sql("SELECT sample_id, odd_size_score FROM facts").fetchall())
    assert found.pop("0/unreadable") is None
    assert found == pytest.approx(
        {f"{ask}/{name}": score for name, score in theirs.items() for ask in range(2)}, **CLOSE
    )


def test_scores_are_measured_when_asked_for(folder, tmp_path, monkeypatch):
    def measured(**options):
        settings = MeasureSettings(workers=1, **options)
        report = measure_images(["china.jpg", "turned.jpg"], folder, tmp_path / "out", settings)
        return report.decodes, pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()

    assert [row["dark_score"] for row in measured()[1]] == [None, None]
    decodes, rows = measured(cleanvision=True)
    assert decodes == 2
    theirs = json.loads(STORED.read_text())["scores"]
    assert [row["blurry_score"] for row in rows] == pytest.approx(
        [theirs[name]["blurry_score"] for name in ("china.jpg", "turned.jpg")], **CLOSE
    )
    assert measured(cleanvision=True)[0] == 0
    decodes, rows = measured()
    assert (decodes, [row["dark_score"] for row in rows]) == (0, [None, None])


def test_every_score_has_a_column():
    assert {f"{name}_score" for name in SCORES} <= known_columns().keys()


@pytest.mark.parametrize("seed", range(8))
def test_percentiles_equal_numpys(seed):
    rng = np.random.default_rng(seed)
    size, colours = tuple(rng.integers(1, 90, 2)), rng.integers(1, 400)
    palette = rng.integers(0, 256, (colours, 3), dtype=np.uint8)
    values = palette[rng.integers(0, colours, size)]
    for pixels in (values, rng.integers(0, 256, (*size, 3), dtype=np.uint8) // (1, 1, 256)):
        picture = Image.fromarray(pixels.astype(np.uint8))
        brightness = np.sqrt(pixels.astype(float) ** 2 @ (0.241, 0.691, 0.068)) / 255
        *found, entropy = _colours(words_of(picture).reshape(-1))
        assert found == pytest.approx(np.percentile(brightness, (99, 5)), **CLOSE)
        assert entropy == pytest.approx(picture.entropy(), **CLOSE)
        grey = picture.convert("L")
        for percent in (0, 1, 5, 50, 95, 99, 100):
            assert grey_percentile(np.asarray(grey.histogram()), percent) == pytest.approx(
                np.percentile(np.asarray(grey) / 255, percent), **CLOSE
            )


@pytest.mark.parametrize(("usual", "others"), [(0, 200), (200, 0), (7, 7)])
@pytest.mark.parametrize("share", [0.005, 0.01, 0.05, 0.06, 0.5])
@pytest.mark.parametrize("size", [(41, 50), (410, 50)])
def test_percentiles_between_far_values(usual, others, share, size):
    pixels = np.full(size, usual, np.uint8)
    pixels.reshape(-1)[: int(share * pixels.size)] = others
    found = _colours(words_of(Image.fromarray(pixels).convert("RGB")).reshape(-1))[:2]
    assert found == pytest.approx(np.percentile(pixels / 255, (99, 5)), **CLOSE)


@pytest.mark.parametrize("usual", [0, 90, 255])
def test_percentiles_that_a_sample_does_not_show(usual):
    rng = np.random.default_rng(usual)
    pixels = rng.integers(0, 256, (300, 401), dtype=np.uint8)
    pixels.reshape(-1)[:: pixels.size // _SAMPLE | 1] = usual  # where it is taken, all is alike
    found = _colours(words_of(Image.fromarray(pixels).convert("RGB")).reshape(-1))[:2]
    assert found == pytest.approx(np.percentile(pixels / 255, (99, 5)), **CLOSE)


@pytest.mark.parametrize("size", [(256, 100), (300, 450), (449, 300), (640, 641), (1283, 857), (200, 900)])
def test_the_blurry_score_of_large_images_is_pillows(size):
    for picture in (noise(*size), noise(*size).convert("L"), noise(*size).convert("RGBA")):
        ratio = max(size) / 64
        small = picture.resize((max(int(size[0] // ratio), 1), max(int(size[1] // ratio), 1))).convert("L")
        edges = np.asarray(small.filter(ImageFilter.FIND_EDGES), float).std()
        spread = 1 - np.exp(-0.01 * np.std(small.histogram()))
        expected = min(1 - np.exp(-0.01 * edges) + spread * (spread > 0.18), 1)
        found = measure_pixels(picture.convert("RGB"), ["cleanvision"], picture)["blurry_score"]
        assert found == pytest.approx(expected, **CLOSE), picture.mode


def test_grey_with_alpha_is_judged_as_seen():
    picture = shape().convert("LA")
    seen = picture.convert("RGB")
    found = measure_pixels(seen, ["cleanvision"], picture)
    assert found["dark_score"] == measure_pixels(seen, ["cleanvision"])["dark_score"]
    assert found["grayscale_score"] == 1.0


def test_an_image_of_several_blocks_is_measured_alike(monkeypatch):
    picture = noise(300, 400)
    expected = measure_pixels(picture, PIXEL_SIGNALS)
    monkeypatch.setattr("curate.signals.base.pa.array", lambda image: (_ for _ in ()).throw(ValueError))
    assert measure_pixels(picture, PIXEL_SIGNALS) == expected
