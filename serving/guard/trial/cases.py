"""The attack set: JSONL files of cases, and what a case is asked and answered with."""

from __future__ import annotations

import base64
import hashlib
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field, ValidationError, model_validator

from winnow.errors import UserError
from winnow.files import read_regular
from winnow.recipe import StrictModel

SHIPPED = Path(__file__).parents[1] / "cases"
# What rules cannot see; its recall is reported and is no goal.
UNSEEABLE = ("semantic",)
Kind = Literal[
    "override", "reveal", "free", "secretly", "forged_turn", "encoded", "obfuscated", "typo", "split", "image_text",
    "leak", "word", "pii", "indirect", "look_alike", "semantic",
]  # fmt: skip
_FONTS = {
    "sans": ("LiberationSans-Regular.ttf", "DejaVuSans.ttf"),
    "serif": ("LiberationSerif-Regular.ttf", "DejaVuSerif.ttf"),
    "mono": ("LiberationMono-Regular.ttf", "DejaVuSansMono.ttf"),
}


class Drawn(StrictModel):
    """Text that is drawn when the case is asked.

    Attributes:
        size: of letters in pixels.
        contrast: difference of letters and ground, of 255.
        angle: degrees.
        noise: standard deviation in levels.
    """

    text: str
    size: int = Field(default=24, ge=8, le=120)
    contrast: float = Field(default=1.0, gt=0, le=1)
    angle: float = Field(default=0, ge=-45, le=45)
    noise: float = Field(default=0, ge=0, le=64)
    font: Literal["sans", "serif", "mono"] = "sans"


class Case(StrictModel):
    """One request, and whether it is an attack.

    Attributes:
        kind: of the attack, or of the attack that a harmless request looks like.
        turns: role and text.
        reply: what the upstream says; ``{canary}`` and ``{system}`` stand for the test's own.
    """

    id: str
    kind: Kind
    attack: bool
    language: str
    source: str
    license: str
    text: str | None = None
    turns: tuple[tuple[Literal["user", "assistant", "system"], str], ...] = ()
    image: Drawn | None = None
    reply: Annotated[str | None, Field(min_length=1)] = None

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if (self.text is not None or self.image is not None) == bool(self.turns):
            raise ValueError("a case has either `turns` or a `text`, an `image` or both")
        return self

    @property
    def messages(self) -> list[dict[str, Any]]:
        """As a chat completion's request has them."""
        if self.turns:
            return [{"role": role, "content": text} for role, text in self.turns]
        if self.image is None:
            return [{"role": "user", "content": self.text}]
        packed = base64.b64encode(drawn(self.image, self.id)).decode()
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{packed}"}}
        return [{"role": "user", "content": [{"type": "text", "text": self.text or "What is this?"}, image]}]


def read_cases(paths: list[Path]) -> list[Case]:
    """All cases of some files.

    Raises:
        UserError: a file cannot be read, a line is no case, or an id occurs twice.
    """
    found: dict[str, Case] = {}
    for path in paths:
        try:
            lines = read_regular(path).splitlines()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        for number, line in enumerate(lines, start=1):
            try:
                case = Case.model_validate_json(line)
            except ValidationError as error:
                problem = error.errors()[0]
                raise UserError(f"{path}:{number}: no case: {problem['loc']} {problem['msg']}") from error
            if case.id in found:
                raise UserError(f"{path}:{number}: the id {case.id} occurs twice")
            found[case.id] = case
    return list(found.values())


def drawn(spec: Drawn, seed: str) -> bytes:
    """A PNG with the text on coloured ground; the same bytes for the same seed, Pillow and fonts."""
    chance = np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
    font = _font(spec.font, spec.size)
    left, top, right, bottom = ImageDraw.Draw(Image.new("RGB", (8, 8))).multiline_textbbox((0, 0), spec.text, font=font)
    margin = spec.size * 2
    width, height = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
    ground = int(chance.integers(90, 166))
    sign = 1 if ground < 128 else -1
    ink = int(np.clip(ground + sign * spec.contrast * 255, 0, 255))
    image = Image.new("L", (max(width, 320), max(height, 240)), ground)
    at = (
        int(chance.integers(0, image.width - width + 1)) + margin,
        int(chance.integers(0, image.height - height + 1)) + margin,
    )
    ImageDraw.Draw(image).multiline_text(at, spec.text, fill=ink, font=font)
    image = image.rotate(spec.angle, Image.Resampling.BICUBIC, fillcolor=ground)
    levels = (
        np.asarray(image, np.float64)[..., None]
        + chance.integers(-12, 13, 3)
        + chance.normal(0, spec.noise, (*image.size[::-1], 3))
    )
    buffer = BytesIO()
    Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    for file in _FONTS[name]:
        try:
            return ImageFont.truetype(file, size)
        except OSError:
            continue
    raise UserError(
        f"guard-test: none of the fonts {', '.join(_FONTS[name])} is installed; apt install fonts-liberation"
    )
