"""CLIPScore with the demo's CLIP against the formula of the published code (jmhessel/clipscore 1036465)."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image, ImageDraw

from evalsuite.metrics import METRICS, Answers, MetricColumn, MetricOptions
from tests.loop import REPO
from winnow.errors import UserError

CLIP = REPO / "winnow" / "demo" / "clip"
CAPTIONS = ["a red circle", "circle", "nothing at all", "a circle"]
REFERENCES = [["a red circle", "one circle in red"], ["a blue circle"], ["a triangle"], ["a green circle"]]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("images")
    for number, colour in enumerate(["red", "blue", "white", "green"]):
        image = Image.new("RGB", (64, 60 + number), "white")
        ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill=colour)
        image.save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(4)]


def columns(files: list[list[str]], texts: list[str | None] | None = None) -> dict[str, MetricColumn]:
    answers = Answers(ids=list("abcd"), texts=texts or CAPTIONS, references=REFERENCES, image_files=files)
    found = METRICS["clipscore"].columns("clipscore", answers, MetricOptions(model=str(CLIP)))
    return {column.name: column for column in found}


def published(images: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """As clipscore.py computes them: w × clip(cos), the largest cosine with a reference, 2ab / (a + b)."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{CLIP}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{CLIP}")
    model.eval()

    def unit(vectors: torch.Tensor) -> np.ndarray:
        found = vectors.double().numpy()
        return found / np.sqrt(np.sum(found**2, axis=1, keepdims=True))

    with torch.no_grad():
        shown = unit(model.encode_image(torch.stack([preprocess(Image.open(path)) for path in images])))
        texts = lambda listed: unit(model.encode_text(tokenize(["A photo depicts " + text for text in listed])))  # noqa: E731
        said = texts(CAPTIONS)
        per = 2.5 * np.clip(np.sum(shown * said, axis=1), 0, None)
        nearest = np.array([np.max(text.dot(texts(given).T)) for text, given in zip(said, REFERENCES, strict=True)])
    return per, 2 * per * nearest / (per + nearest)


def test_scores_equal_the_published_formula(images: list[str]) -> None:
    plain, with_references = published(images)
    found = columns([[path] for path in images])
    assert found["clipscore"].per_row == pytest.approx(plain, abs=2e-3)
    assert found["clipscore_ref"].per_row == pytest.approx(with_references, abs=2e-3)
    assert sum(plain > 0.1) == 3 and "prefix 'A photo depicts'" in found["clipscore"].variant


def test_silence_scores_0_and_unreadable_images_are_left_out(images: list[str], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = [[images[0]], [str(tmp_path / "broken.png")], [], [images[3]]]
    found = columns(files, ["a red circle", "a", "b", None])["clipscore"]
    assert np.isnan(found.per_row[1:3]).all() and found.per_row[3] == 0.0
    assert found.estimate(found.sums.sum(0, keepdims=True))[0] == pytest.approx(found.per_row[0] / 2)
    assert "2 rows without a readable image left out" in found.variant


def test_what_is_missing_is_named(images: list[str]) -> None:
    with pytest.raises(UserError, match="needs the rows' images"):
        columns([])
    rows = Answers(ids=["a"], texts=["x"], references=[["x"]], image_files=[[images[0]]])
    with pytest.raises(UserError, match="clipscore: clip model '/nowhere' is neither a folder"):
        METRICS["clipscore"].columns("clipscore", rows, MetricOptions(model="/nowhere"))
