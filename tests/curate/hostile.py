"""Image files as they should not be: mutated, and promising more pixels than they hold."""

import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from tests.curate.make_images import encoded, noise

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")


def seeds() -> dict[str, list[bytes]]:
    """Small valid files of each format in the modes and encodings that are met in practice."""
    image, frames = noise(40, 30), [noise(20, 15, 1), noise(20, 15, 2)]
    moving = {"save_all": True, "append_images": frames}
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L"))
    return {
        "JPEG": [
            encoded(image, "JPEG", exif=exif), encoded(image, "JPEG", progressive=True),
            encoded(image.convert("L"), "JPEG"), encoded(image.convert("CMYK"), "JPEG"),
            encoded(noise(), "MPO", save_all=True, append_images=[noise()]),
        ],
        "PNG": [
            encoded(image, exif=exif), encoded(clear), encoded(image.quantize(16), transparency=3),
            encoded(image.convert("1")), encoded(image.convert("I;16")), encoded(image, **moving),
        ],
        "GIF": [encoded(image, "GIF"), encoded(frames[0], "GIF", **moving), encoded(image, "GIF", interlace=1)],
        "WEBP": [encoded(image, "WEBP"), encoded(clear, "WEBP", lossless=True), encoded(frames[0], "WEBP", **moving)],
        "BMP": [encoded(image.convert(mode), "BMP") for mode in ("RGB", "L", "1", "P")],
        "TIFF": [
            encoded(image, "TIFF"), encoded(image.convert("CMYK"), "TIFF"), encoded(frames[0], "TIFF", **moving),
            *(encoded(image, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
            encoded(image.convert("1"), "TIFF", compression="group4"), encoded(image.convert("I;16"), "TIFF"),
        ],
    }  # fmt: skip


def mutated(file: bytes, chance: random.Random) -> bytes:
    """The file with one to eight damages; most leave its first bytes alone, so that a decoder gets to see it."""
    data = bytearray(file)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(chance.choice((0, 12, 12)), len(data)) if len(data) > 12 else 0
        match chance.randrange(7):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                data[at : at + 4] = chance.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
                )
            case 3:
                data[at:at] = chance.randbytes(chance.randint(1, 16))
            case 4:
                del data[at : at + chance.randint(1, 16)]
            case 5:
                start = chance.randrange(len(data))
                data[at:at] = data[start : start + chance.randint(1, 64)]
            case 6 if chance.random() < 0.3:
                del data[at:]
        if not data:
            break
    return bytes(data)


def bombs(side: int = 16_000) -> Iterator[tuple[str, bytes]]:
    """Files of some hundred bytes that promise side × side pixels."""
    small = noise(16, 16)
    chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = bytearray(encoded(small))
    png[12:33] = chunk + struct.pack(">I", zlib.crc32(chunk))
    yield "PNG", bytes(png)
    jpeg = bytearray(encoded(small, "JPEG"))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = struct.pack(">HH", side, side)
    yield "JPEG", bytes(jpeg)
    gif = bytearray(encoded(small, "GIF"))
    gif[6:10] = struct.pack("<HH", side, side)
    yield "GIF screen", bytes(gif)
    gif = bytearray(encoded(small, "GIF"))
    start = gif.index(b"\x2c\0\0\0\0\x10\0\x10\0") + 5
    gif[start : start + 4] = struct.pack("<HH", side, side)
    yield "GIF frame", bytes(gif)
    bmp = bytearray(encoded(small, "BMP"))
    bmp[18:26] = struct.pack("<ii", side, side)
    yield "BMP", bytes(bmp)
    tiff = encoded(small, "TIFF", compression="tiff_lzw")
    for tag in (256, 257):
        at = (
            tiff.index(struct.pack("<HHI", tag, 4, 1))
            if struct.pack("<HHI", tag, 4, 1) in tiff
            else tiff.index(struct.pack("<HHI", tag, 3, 1))
        )
        tiff = tiff[:at] + struct.pack("<HHII", tag, 4, 1, side) + tiff[at + 12 :]
    yield "TIFF", tiff
    webp = bytearray(encoded(small, "WEBP", save_all=True, append_images=[noise(16, 16, 1)]))
    start = webp.index(b"VP8X") + 12
    webp[start : start + 6] = (side - 1).to_bytes(3, "little") * 2
    yield "WEBP", bytes(webp)
    webp = bytearray(encoded(small, "WEBP"))
    start = webp.index(b"\x9d\x01\x2a") + 3
    webp[start : start + 4] = struct.pack("<HH", side, side)
    yield "WEBP simple", bytes(webp)
