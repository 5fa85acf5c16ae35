"""The text in a picture, as the PP-OCRv6 networks read it that the package ``rapidocr`` ships (Apache-2.0).

Nothing is downloaded. The networks read Latin and Chinese letters, Japanese and digits, of text that stands upright or
is turned a little; text upside down is not read. What they read is text of an untrusted picture: control characters
become spaces, and a picture gives at most 1,000 pieces and 20,000 characters.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from curate.signals.base import ImageModel, ModelUnavailable

_DETECTOR, _READER = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
_DETECTOR_SIDE = 960  # pixels: the longer side of what the detector sees; the reader sees the picture itself
_READER_HEIGHT = 48  # pixels of a piece as the reader sees it
_MOST_PIECES, _LONGEST_PIECE, _LONGEST_TEXT = 1000, 500, 20_000
_UNIT = 10_000  # of stored coordinates and confidences
_MASK_SIDE = 256


@dataclass(frozen=True)
class Piece:
    """A piece of text as the detector found it.

    Attributes:
        corners: four (x, y) in pixels, clockwise from the upper left.
        confidence: 0–1: the reader's mean over the characters.
    """

    text: str
    corners: tuple[tuple[float, float], ...]
    confidence: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels."""
        across, down = [x for x, _ in self.corners], [y for _, y in self.corners]
        return min(across), min(down), max(across), max(down)


def read_text(image: Image.Image) -> dict[str, Any]:
    """The columns of one RGB image. One thread."""
    engine = _engine()
    found = engine(np.asarray(image)[:, :, ::-1])  # BGR
    if not getattr(found, "txts", None):
        return columns_of([], image.size)
    pieces = [
        Piece(str(text), tuple((float(x), float(y)) for x, y in corners), float(score))
        for text, corners, score in zip(found.txts, found.boxes, found.scores, strict=True)
    ]
    return columns_of(pieces, image.size)


def columns_of(pieces: Iterable[Piece], size: tuple[int, int]) -> dict[str, Any]:
    """What is stored of the pieces of a picture of ``size`` (width, height).

    Rows of text come from top to bottom and are separated by line breaks; pieces of one row come from left to right and
    are separated by tabs.
    """
    rows: list[list[tuple[str, Piece]]] = []
    length = 0
    for row in in_rows(pieces):
        cleaned = [(text, piece) for piece in row if (text := _cleaned(piece.text))]
        length += sum(len(text) + 1 for text, _ in cleaned)
        if length > _LONGEST_TEXT:
            break
        rows += [cleaned] if cleaned else []
    kept = [one for row in rows for one in row]
    text = "\n".join("\t".join(text for text, _ in row) for row in rows)
    weights = [len(text) for text, _ in kept]
    return {
        "ocr_text": text,
        "ocr_words": len(text.split()),
        "ocr_confidence": float(np.average([piece.confidence for _, piece in kept], weights=weights)) if kept else None,
        "ocr_area": _area([piece for _, piece in kept], size),
        "ocr_script": _script(text),
        "ocr_boxes": [number for _, piece in kept for number in _stored(piece, size)],
    }


def in_rows(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Pieces in reading order: a piece is in the row whose last piece it overlaps by half of the lower one's height."""
    first = sorted(pieces, key=lambda piece: (piece.box[1], piece.box[0], piece.text))[:_MOST_PIECES]
    rows: list[list[Piece]] = []
    for piece in first:
        _, top, _, bottom = piece.box
        for row in reversed(rows[-3:]):  # a skewed row may begin after the next one
            _, above, _, below = row[-1].box
            if min(bottom, below) - max(top, above) > min(bottom - top, below - above) / 2:
                row.append(piece)
                break
        else:
            rows.append([piece])
    return [sorted(row, key=lambda piece: (piece.box[0], piece.text)) for row in rows]


def _cleaned(text: str) -> str:
    """On one line, without control characters and lone surrogates, cut."""
    plain = "".join(each if each.isprintable() else " " for each in text[:_LONGEST_PIECE])
    return " ".join(plain.split())


def _stored(piece: Piece, size: tuple[int, int]) -> list[int]:
    left, top, right, bottom = piece.box
    width, height = size
    shares = (left / width, top / height, right / width, bottom / height, piece.confidence)
    return [round(min(max(share, 0), 1) * _UNIT) for share in shares]


def _area(pieces: Sequence[Piece], size: tuple[int, int]) -> float:
    """Share of the picture that the pieces cover, counted on a small mask."""
    scale = _MASK_SIDE / max(size)
    mask = Image.new("1", (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)))
    draw = ImageDraw.Draw(mask)
    for piece in pieces:
        draw.polygon([(x * scale, y * scale) for x, y in piece.corners], fill=1)
    return float(np.asarray(mask).mean())


def _script(text: str) -> str | None:
    """``latin``, ``cjk``, ``hiragana``, …: the script of most letters, by their Unicode names; None without letters."""
    names = (unicodedata.name(each, "").split(" ", 1)[0].lower() for each in text if each.isalpha())
    counts = Counter(name for name in names if name)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


@functools.lru_cache(maxsize=1)
def _engine() -> Any:
    """RapidOCR on the weights in the package, with one thread.

    Raises:
        ModelUnavailable: the package or its weights are not there.
    """
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise ModelUnavailable(
            f"ocr: rapidocr needs the extra: pip install 'winnow-vlm[ocr]' ({error}); or write `ocr: null` to go on"
            " without it"
        ) from error
    models = resources.files("rapidocr").joinpath("models")
    paths = {name: models.joinpath(name) for name in (_DETECTOR, _READER)}
    for name, path in paths.items():
        if not path.is_file():
            raise ModelUnavailable(
                f"ocr: rapidocr lacks its weights {name}; install rapidocr again, or write `ocr: null`"
            )
    return RapidOCR(
        params={
            "Global.log_level": "error",
            "Global.use_cls": False,
            "Det.model_path": str(paths[_DETECTOR]),
            "Det.limit_type": "max",
            "Det.limit_side_len": _DETECTOR_SIDE,
            "Rec.model_path": str(paths[_READER]),
            "Rec.rec_img_shape": [3, _READER_HEIGHT, _READER_HEIGHT],  # no padding to 320 pixels, which costs a third
            "Rec.rec_batch_num": 1,  # likewise: a batch is padded to its widest piece
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


IMAGE_MODELS = (
    ImageModel(
        name="ocr",
        version=[2, _DETECTOR, _READER, _DETECTOR_SIDE],
        columns={
            "ocr_text": "the text in the picture, row by row, tabs between the pieces of a row; empty without text",
            "ocr_words": "words of `ocr_text`",
            "ocr_confidence": "0–1: the reader's confidence, a mean over characters; null without text",
            "ocr_area": "0–1: share of the picture that text covers",
            "ocr_script": "the script of most letters: latin, cjk, hiragana, …; null without letters",
            "ocr_boxes": "for each piece of `ocr_text` left, top, right, bottom and confidence in 1/10,000",
        },
        types={
            "ocr_text": pa.string(),
            "ocr_words": pa.int64(),
            "ocr_confidence": pa.float64(),
            "ocr_area": pa.float64(),
            "ocr_script": pa.string(),
            "ocr_boxes": pa.list_(pa.uint16()),
        },
        read=read_text,
        check=_engine,
    ),
)
