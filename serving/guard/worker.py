"""A process that looks at images and texts with models, apart from the process that holds the keys and connections.

It reads frames from its standard input and answers each on its standard output: eight bytes with the length of a JSON
head, eight with the length of the bytes after it, then both. A decoder that crashes or hangs costs one request: the
guard ends the process and starts another. Nothing is unpickled.
"""

from __future__ import annotations

import math
import os
import struct
import sys
from io import BytesIO
from typing import Any, BinaryIO

import orjson
from PIL import Image

from winnow.errors import UserError
from winnow.media.images import decode_whole

FRAME = struct.Struct(">QQ")
_PLAIN_MODES = ("RGB", "L")


class Scorers:
    """The models that the settings name, loaded once.

    Args:
        settings: ``nsfw``, ``ocr``: whether; ``clip``: model and pretrained or None; ``prompts``: name → positive and
            negative texts, and the factor of the cosines; ``classifier``: folder and label or None.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._nsfw: Any = None
        self._clip: Any = None
        self._prompts: dict[str, tuple[Any, Any, float]] = {}
        self._classifier: Any = None
        if settings["nsfw"]:
            from curate.signals.nsfw import load_nsfw

            self._nsfw = load_nsfw()
        if settings["ocr"]:
            from curate.signals import ocr

            ocr.IMAGE_MODELS[0].check()
        if settings["clip"]:
            from curate.signals.clip import load_clip

            self._clip = load_clip(settings["clip"]["model"], settings["clip"]["pretrained"])
            self._prompts = {
                name: (self._clip.embed_texts(positive), self._clip.embed_texts(negative), scale)
                for name, (positive, negative, scale) in settings["prompts"].items()
            }
        if settings["classifier"]:
            from serving.guard.classifier import load_classifier

            self._classifier = load_classifier(settings["classifier"]["model"], settings["classifier"]["label"])

    def image(self, data: bytes) -> tuple[dict[str, Any], bytes]:
        """What was found in an image, and the PNG or JPEG to forward (empty: the bytes as they are)."""
        caps = self._settings["caps"]
        seen = decode_whole(data, max_bytes=caps["max_bytes"], max_pixels=caps["max_pixels"])
        facts = seen.facts
        found: dict[str, Any] = {
            "error": None if facts.error == "animated" else facts.error,
            "format": facts.format,
            "width": facts.width,
            "height": facts.height,
        }
        if seen.image is None:
            return found, b""
        image = seen.image
        if self._nsfw is not None:
            from curate.signals.nsfw import nsfw_pixels, nsfw_scores

            found["nsfw"] = finite(nsfw_scores(self._nsfw, nsfw_pixels(image)[None])[0])
        if self._clip is not None and self._prompts:
            found["prompts"] = self._prompt_scores(image)
        if self._settings["ocr"]:
            from curate.signals.ocr import read_text

            found["text"] = read_text(image)["ocr_text"]
        is_plain = facts.mode in _PLAIN_MODES and facts.exif_orientation == 1 and facts.frames == 1
        # A colour that is transparent shows what is behind it in some decoders, and itself in others.
        is_plain = is_plain and seen.original is not None and "transparency" not in seen.original.info
        if is_plain and facts.format in ("JPEG", "PNG") and not self._settings["always"]:
            return found, b""
        return found, encoded(image)

    def _prompt_scores(self, image: Image.Image) -> dict[str, float]:
        from curate.signals.clip import clip_pixels, prompt_scores

        embedded = self._clip.embed_images(clip_pixels(image, self._clip.input)[None])
        return {
            name: finite(prompt_scores(embedded, positive, negative, scale)[0])
            for name, (positive, negative, scale) in self._prompts.items()
        }

    def text(self, text: str) -> dict[str, Any]:
        """The classifier's probability for a text."""
        return {"score": finite(self._classifier(text))}


def finite(score: Any) -> float:
    """A model's score.

    Raises:
        ValueError: it is no finite number, so it is a failure of the model and says nothing about what was scored.
    """
    if not math.isfinite(score):
        raise ValueError(f"a score is {float(score)}")
    return float(score)


def encoded(image: Image.Image) -> bytes:
    """The pixels that were looked at: PNG, or JPEG of quality 95 above 1.5 million pixels."""
    buffer = BytesIO()
    if image.width * image.height > 1_500_000:
        image.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def read_frame(source: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next frame; None at the end."""
    head = source.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    first, second = FRAME.unpack(head)
    return orjson.loads(source.read(first)), source.read(second)


def frame(head: dict[str, Any], data: bytes = b"") -> bytes:
    """A frame."""
    packed = orjson.dumps(head)
    return FRAME.pack(len(packed), len(data)) + packed + data


def main() -> None:
    """Answer frames until the input ends. The first one has the settings."""
    source = sys.stdin.buffer
    # Libraries print; what they print must not get between the frames.
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    started = read_frame(source)
    if started is None:
        return
    try:
        scorers = Scorers(started[0])
    except (UserError, ValueError, OSError, ImportError) as error:
        target.write(frame({"failed": " ".join(str(error).split())[:500]}))
        target.flush()
        return
    target.write(frame({}))
    target.flush()
    while (asked := read_frame(source)) is not None:
        head, data = asked
        try:
            answer, made = scorers.image(data) if head["what"] == "image" else (scorers.text(data.decode()), b"")
        except Exception as error:  # noqa: BLE001 (whatever a model raises costs this request only)
            answer, made = {"failed": f"{type(error).__name__}: {error}"[:300]}, b""
        target.write(frame(answer, made))
        target.flush()


if __name__ == "__main__":
    main()
