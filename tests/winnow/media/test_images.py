import io
import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin
from skimage import color

from tests.curate.make_images import encoded, noise, shape, write
from winnow.media import images
from winnow.media.images import CLASSES, IMAGE_SUFFIXES, decode, pixels_of
from winnow.media.locate import locate, wrong_extension

CAPS = {"max_bytes": 1_000_000, "max_pixels": 100_000}


def pixels(data):
    image, facts = decode(data, **CAPS)
    assert facts.error is None, facts
    assert image.mode == "RGB"
    return np.asarray(image)


LOSSLESS = ("PNG", "BMP", "TIFF", "PPM", "WEBP", "QOI", "DDS", "PCX", "TGA", "SGI", "DIB", "ICO")


@pytest.mark.parametrize("format", [*LOSSLESS, "GIF", "JPEG", "JPEG2000", "AVIF"])
def test_every_format_is_read_and_named(format):
    options = {"lossless": True} if format == "WEBP" else {}
    image, facts = decode(encoded(noise(16, 16), format, **options), **CAPS)
    assert (facts.error, facts.format, image.size, facts.frames) == (None, format, (16, 16), 1)
    assert format not in LOSSLESS or np.array_equal(np.asarray(image), np.asarray(noise(16, 16)))


def raw_psd(mode, planes):
    """A Photoshop file without layers; ``planes`` are its channels, one after the other."""
    channels, height, width = planes.shape
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, height, width, 8, mode)
    return header + bytes(12) + b"\0\0" + planes.astype(np.uint8).tobytes()


def test_formats_that_pillow_cannot_write():
    wanted = np.asarray(noise(8, 6))
    assert np.array_equal(pixels(raw_psd(3, wanted.transpose(2, 0, 1))), wanted)
    sun = struct.pack(">8I", 0x59A66A95, 8, 6, 24, wanted.size, 3, 0, 0) + wanted.tobytes()
    assert np.array_equal(pixels(sun), wanted)
    xpm = b'/* XPM */\nstatic char *x[] = {\n"2 1 2 1",\n"a c #ff0000",\n"b c #0000ff",\n"ab"\n};\n'
    assert pixels(xpm).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    icon = encoded(noise(8, 6).convert("RGBA"), "ICO", bitmap_format="bmp")
    assert np.array_equal(pixels(b"\0\0\2\0" + icon[4:]), wanted)


def test_heic_is_read_without_teaching_pillow_the_format(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(shape(16)).save(buffer, quality=-1)
    image, facts = decode(buffer.getvalue(), **CAPS)
    assert (facts.error, facts.format, image.size, image.mode) == (None, "HEIF", (16, 16), "RGB")
    assert np.abs(np.asarray(image).astype(int) - np.asarray(shape(16))).mean() < 3
    assert decode(buffer.getvalue(), max_bytes=10**6, max_pixels=255)[1].error == "too_large_pixels"
    (tmp_path / "a.heic").write_bytes(buffer.getvalue())
    code = (
        "import sys; from pathlib import Path; from PIL import Image; from winnow.media.images import decode;"
        "image, _ = decode(Path(sys.argv[1]).read_bytes(), max_bytes=10**6, max_pixels=10**6);"
        "assert image is not None and 'HEIF' not in Image.OPEN"
    )
    # In a process of its own: another library may have taught this one.
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.heic")], check=True)


def test_heic_without_its_extra_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    facts = decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", **CAPS)[1]
    assert (facts.error, facts.format) == ("unsupported_format", "HEIF")
    assert "winnow-vlm[heif]" in facts.error_detail


def tiff(values, **options):
    """A TIFF as tifffile writes it, which shares no code with Pillow."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


STEPS = np.arange(12).reshape(3, 4)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (STEPS.astype(np.uint8) * 20, STEPS * 20),
        (STEPS.astype(np.uint16) * 5140, STEPS * 20),  # 65,535 is white
        (STEPS.astype(np.float32) / 11, STEPS / 11 * 255),  # 1 is white
        (STEPS.astype(np.float32) * 1000 - 500, STEPS / 11 * 255),  # from their lowest to their highest
        (STEPS.astype(np.int32) * 20, STEPS * 20),
        (STEPS.astype(np.int32) * 100_000, STEPS / 11 * 255),
        (STEPS.astype(np.int32) + 70_000, STEPS / 11 * 255),
        (STEPS.astype(np.int16) * 100 - 600, STEPS / 11 * 255),
        (STEPS.astype(np.uint32) * 300_000_000, STEPS / 11 * 255),  # beyond what a signed number holds
    ],
)
def test_greys_of_every_depth_are_scaled(values, expected):
    found = pixels(tiff(values, photometric="minisblack"))
    assert np.abs(found - expected[:, :, None]).max() <= 0.5


@pytest.mark.parametrize("type", ["u1", "u2", "f4"])
def test_greys_of_which_zero_is_white(type):
    white = {"u1": 255, "u2": 65535, "f4": 1}[type]
    found = pixels(tiff((STEPS / 11 * white).astype(type), photometric="miniswhite"))
    assert np.abs(found[:, :, 0] - (255 - STEPS / 11 * 255)).max() <= 1


@pytest.mark.parametrize(
    "data",
    [
        tiff((STEPS / 11).astype("f8"), photometric="minisblack"),
        tiff(np.zeros((4, 4, 3), "f4"), photometric="rgb"),
        tiff(np.zeros((4, 4), "c8")),
        raw_psd(3, np.zeros((3, 4, 4)))[:22] + b"\0\x10" + raw_psd(3, np.zeros((3, 4, 8)))[24:],
    ],
)
def test_a_sound_file_of_a_kind_that_is_not_read_is_not_called_truncated(data):
    image, facts = decode(data, **CAPS)
    assert (image, facts.error) == (None, "unsupported_format"), facts


def test_greys_without_a_range():
    constant = pixels(tiff(np.full((2, 2), 70_000, np.int32)))
    assert constant.min() == constant.max() == 128
    holes = np.array([[0, 0.5], [np.nan, np.inf]], np.float32)
    assert pixels(tiff(holes))[:, :, 0].tolist() == [[0, 128], [0, 0]]
    nothing = tiff(np.full((2, 2), np.nan, np.float32))
    assert decode(nothing, **CAPS)[1].error == "unreadable_mode"


def test_16_bit_colours_keep_their_high_byte():
    values = np.random.default_rng(0).integers(0, 2**16, (6, 8, 3), dtype=np.uint16)
    assert np.array_equal(pixels(tiff(values, photometric="rgb")), values >> 8)


def test_lab_is_converted_as_scikit_image_does():
    wanted = shape(16, colour=(200, 90, 120), background=(140, 190, 120), box=(4, 4, 12, 12))
    lab = color.rgb2lab(np.asarray(wanted) / 255)
    stored = np.stack([lab[..., 0] * 2.55, lab[..., 1], lab[..., 2]], -1).round().astype(np.int16).astype(np.uint8)
    image, facts = decode(tiff(stored, photometric="cielab"), **CAPS)
    assert (facts.error, facts.mode) == (None, "LAB")
    assert np.abs(np.asarray(image).astype(int) - np.asarray(wanted)).max() <= 8  # its white is D65, lcms2's D50


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(8 << 20))),  # more than Pillow takes of one text
        chunk(b"iTXt", b"note\0\1\0\0\0" + zlib.compress(bytes(8 << 20))),
        chunk(b"zTXt", b"note\0\7unknown compression"),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(8 << 20))),
        chunk(b"iCCP", b"name\0\7"),
    ],
)
def test_a_png_is_read_whatever_text_or_profile_it_carries(extra):
    plain = encoded(noise(12, 9))
    for at in (33, len(plain) - 12):  # after IHDR, before IEND
        assert np.array_equal(pixels(plain[:at] + extra + plain[at:]), np.asarray(noise(12, 9)))
    cut = plain[:33] + extra + plain[33:90]
    assert decode(cut, **CAPS)[1].error == "truncated"


def _pages(count: int, order: str, *, big: bool) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=big, byteorder=order) as writer:
        for number in range(count):
            writer.write(np.full((4, 4), number % 250, np.uint8), contiguous=False)
    return file.getvalue()


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])  # Pillow reads no other
def test_pages_of_a_tiff_are_counted_without_looking_each_up_among_all(order, big, monkeypatch):
    few = _pages(7, order, big=big)
    assert images._tiff_pages(few) == Image.open(io.BytesIO(few)).n_frames == decode(few, **CAPS)[1].frames == 7
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "n_frames", property(lambda _: pytest.fail("counted by Pillow")))
    many = _pages(1200, order, big=big)
    image, facts = decode(many, **CAPS)
    assert image is not None and (facts.error, facts.frames) == ("animated", 1200)
    assert images._tiff_pages(many[: len(many) // 2]) < 1200
    ring = bytearray(few)  # its last page leads back to the first
    link = 8 if big else 4
    last = max(page.offset for page in tifffile.TiffFile(io.BytesIO(few)).pages)
    entries = struct.unpack_from(order + ("Q" if big else "H"), ring, last)[0]
    place = last + (8 + 20 * entries if big else 2 + 12 * entries)
    ring[place : place + link] = ring[link : 2 * link]
    assert images._tiff_pages(bytes(ring)) == 7


def test_an_icon_is_judged_by_the_image_inside():
    inner = encoded(noise(400, 300))
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    icns = b"icns" + struct.pack(">I", 16 + len(inner)) + b"ic07" + struct.pack(">I", 8 + len(inner)) + inner
    for data in (icon, icns):
        image, facts = decode(data, max_bytes=10**6, max_pixels=400 * 300 - 1)
        assert (image, facts.error) == (None, "too_large_pixels")
        assert pixels_of(data) == 400 * 300
    assert decode(icon, max_bytes=10**6, max_pixels=400 * 300)[0].size == (400, 300)


@pytest.mark.parametrize(
    ("data", "error", "format"),
    [
        (b"<?xml version='1.0'?>\n<!-- drawn --><svg xmlns='http://www.w3.org/2000/svg'/>", "vector_image", "SVG"),
        (b"\xef\xbb\xbf\n<svg/>", "vector_image", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "vector_image", "EPS"),
        (b"\xd7\xcd\xc6\x9a" + bytes(40), "vector_image", "WMF"),
        (b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(60), "vector_image", "WMF"),
        (b"%PDF-1.7\n", "document", "PDF"),
        (b"\xff\x0a\x05\x06", "unsupported_format", "JPEG XL"),
        (b"SIMPLE  =                    T", "unsupported_format", "FITS"),
        (b"<html><body><svg/></body></html>", "not_an_image", None),
    ],
)
def test_what_is_meant_as_an_image_but_has_no_decoder_has_its_own_class(data, error, format):
    image, facts = decode(data, **CAPS)
    assert (image, facts.error, facts.format) == (None, error, format)
    assert error == "not_an_image" or "convert" in facts.error_detail


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".pgm", ".mpo", ".avif", ".heic", ".jxl", ".svg", ".pdf", ".tga"])
def test_endings(suffix):
    assert suffix in IMAGE_SUFFIXES


def test_no_video_or_table_counts_as_an_image():
    assert not {".mpg", ".h5", ".csv", ".txt", ""} & IMAGE_SUFFIXES.keys()


@pytest.mark.parametrize(
    ("mode", "fill", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 100, (100, 100, 100)),
        ("P", 3, None),
        ("LA", (100, 255), (100, 100, 100)),
        ("LA", (100, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 25700, (100, 100, 100)),
    ],
)
def test_modes_become_the_colours_one_sees(mode, fill, expected):
    picture = Image.new(mode, (5, 4), fill)
    if mode == "P":
        picture.putpalette([value for index in range(256) for value in (index, 2 * index % 256, 7)])
        expected = (3, 6, 7)
    found = pixels(encoded(picture))
    assert found.shape == (4, 5, 3)
    assert (found == expected).all()


def test_palette_and_grey_with_a_transparent_colour_show_white():
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    palette.putpixel((1, 0), 0)
    assert pixels(encoded(palette, transparency=0)).tolist() == [[[200, 10, 10], [255, 255, 255]]]
    grey = Image.new("L", (2, 1), 90)
    grey.putpixel((1, 0), 7)
    assert pixels(encoded(grey, transparency=7)).tolist() == [[[90, 90, 90], [255, 255, 255]]]
    colour = Image.new("RGB", (2, 1), (1, 2, 3))
    colour.putpixel((1, 0), (9, 9, 9))
    assert pixels(encoded(colour, transparency=(9, 9, 9))).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_cmyk_equals_pillows_conversion():
    picture = noise(16, 16).convert("CMYK")
    data = encoded(picture, "JPEG", quality=95)
    assert (pixels(data) == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()
    assert decode(data, **CAPS)[1].mode == "CMYK"


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (220, 20, 20), (20, 40, 200)])
def test_inverted_cmyk_of_adobe_shows_its_colours(colour):
    data = encoded(Image.new("RGB", (16, 16), colour).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data  # such files hold the complements of their inks
    assert np.abs(pixels(data).astype(int) - colour).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation, format):
    picture = Image.new("RGB", (6, 4), (0, 0, 0))
    picture.paste((255, 255, 255), (0, 0, 3, 2))  # the top left quarter is white
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    image, facts = decode(encoded(picture, format, exif=exif, **options), **CAPS)
    corner = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}[orientation]
    assert image.size == (facts.width, facts.height) == ((6, 4) if orientation < 5 else (4, 6))
    assert facts.exif_orientation == orientation
    right, bottom = image.width - 1, image.height - 1
    corners = {"tl": (0, 0), "tr": (right, 0), "bl": (0, bottom), "br": (right, bottom)}
    bright = {name: image.getpixel(at)[0] > 128 for name, at in corners.items()}
    assert bright == {name: name == corner for name in corners}


def test_damaged_exif_costs_no_pixel():
    data = encoded(shape(8), exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert decode(data, **CAPS)[1].error is None


def test_animation_gives_its_first_frame_and_its_class():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        image, facts = decode(encoded(frames[0], format, save_all=True, append_images=frames[1:]), **CAPS)
        assert (facts.error, facts.frames) == ("animated", 3), format
        assert image.getpixel((0, 0))[0] > 240


def test_a_photo_with_its_preview_is_no_animation():
    data = encoded(shape(16), "MPO", save_all=True, append_images=[shape(8)])
    image, facts = decode(data, **CAPS)
    assert (facts.format, facts.frames, facts.error) == ("MPO", 2, None)
    assert image.size == (16, 16)


def png_header(width, height):
    """A PNG that claims a size and has hardly any data."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ihdr = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    body = b"IDAT" + zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + ihdr + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize("side", [317, 20_000, 2**31 - 1])
def test_bombs_are_refused_before_decoding(side, monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image, facts = decode(png_header(side, side), **CAPS)
    assert (image, facts.error) == (None, "too_large_pixels")


def test_caps_are_inclusive():
    data = encoded(shape(10))
    assert decode(data, max_bytes=len(data), max_pixels=100)[1].error is None
    assert decode(data, max_bytes=len(data) - 1, max_pixels=100)[1].error == "too_large_bytes"
    assert decode(data, max_bytes=len(data), max_pixels=99)[1].error == "too_large_pixels"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_cut_off_files_are_truncated(format, share):
    data = encoded(noise(64, 48), format)
    image, facts = decode(data[: max(int(len(data) * share), 20)], **CAPS)
    assert (image, facts.error) == (None, "truncated"), facts


@pytest.mark.parametrize(
    "data",
    [b"<html><body>404</body></html>", b"BMW is a car", b"P1anet", b"RIFF1234WAVEfmt ", b"\n", b"\0" * 64,
     b"a", b"\x1f\x8b\x08" + b"x" * 50, b"#define A_H\n#define B 3\n", b"\0\0\1\0"],
)  # fmt: skip
def test_other_files_are_not_images(data):
    image, facts = decode(data, **CAPS)
    assert (image, facts.error) == (None, "not_an_image"), facts
    assert facts.error_detail


def test_empty_file():
    assert decode(b"", **CAPS)[1].error == "empty"


SEEDS = {format: encoded(noise(12, 9), format) for format in (*LOSSLESS, "JPEG", "GIF", "JPEG2000", "AVIF")}
SEEDS["icon"] = encoded(noise(12, 9).convert("RGBA"), "ICO", bitmap_format="bmp")
SEEDS["psd"] = raw_psd(3, np.asarray(noise(12, 9)).transpose(2, 0, 1))
SEEDS["float"] = encoded(Image.fromarray(np.linspace(-1, 9, 108, dtype=np.float32).reshape(9, 12)), "TIFF")
SEEDS["lab"] = encoded(Image.new("LAB", (12, 9), (50, 130, 90)), "TIFF")
SEEDS["run-length TGA"] = encoded(noise(12, 9), "TGA", compression="tga_rle")
SEEDS["animation"] = encoded(noise(6, 6), "GIF", save_all=True, append_images=[noise(6, 6, 1)])
SEEDS["palette"] = encoded(noise(6, 6).quantize(8), transparency=1)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
@pytest.mark.slow
def test_mutated_files_never_raise(data):
    seed = bytearray(SEEDS[data.draw(st.sampled_from(sorted(SEEDS)))])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, max(len(seed) - 1, 0)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "delete", "ones"])):
            case "flip":
                seed[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "cut":
                del seed[at:]
            case "insert":
                seed[at:at] = data.draw(st.binary(max_size=8))
            case "delete":
                del seed[at : at + data.draw(st.integers(1, 8))]
            case "ones":
                seed[at : at + 4] = b"\xff\xff\xff\xff"
    image, facts = decode(bytes(seed), **CAPS)
    assert pixels_of(bytes(seed)) >= 0
    assert facts.bytes == len(seed)
    assert facts.error is None or facts.error in CLASSES
    assert (image is None) == (facts.error is not None and facts.error != "animated")
    if image is not None:
        assert image.mode == "RGB"
        assert image.width * image.height <= CAPS["max_pixels"]


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "secret.png", b"secret")
    write(tmp_path / "root" / "a" / "b.png", b"12345")
    (tmp_path / "root" / "folder.png").mkdir()
    (tmp_path / "root" / "out.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    (tmp_path / "root" / "in.png").symlink_to(tmp_path / "root" / "a" / "b.png")
    (tmp_path / "root" / "dangling.png").symlink_to(tmp_path / "root" / "none.png")
    (tmp_path / "root" / "circle.png").symlink_to(tmp_path / "root" / "circle.png")
    os.mkfifo(tmp_path / "root" / "pipe.png")
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("a/b.png", None),
        ("./a//b.png", None),
        ("in.png", None),
        ("a/none.png", "missing"),
        ("dangling.png", "missing"),
        ("circle.png", "missing"),
        ("folder.png", "not_an_image"),
        ("pipe.png", "not_an_image"),
        ("", "not_an_image"),
        ("x" * 5000, "missing"),
        ("../secret.png", "outside_root"),
        ("a/../../secret.png", "outside_root"),
        ("a/../a/b.png", "outside_root"),
        ("out.png", "outside_root"),
        ("out/secret.png", "outside_root"),
        ("/etc/passwd", "outside_root"),
        ("a\0b", "outside_root"),
    ],
)
def test_paths_stay_below_the_root(root, path, error):
    found = locate(path, str(root.resolve()), max_bytes=100)
    assert found.error == error
    assert (found.file is None) == (error is not None)
    assert error is None or error in CLASSES


def test_too_many_bytes_are_not_read(root):
    found = locate("a/b.png", str(root), max_bytes=4)
    assert (found.file, found.size, found.error) == (None, 5, "too_large_bytes")


@pytest.mark.parametrize(
    ("path", "content", "wrong"),
    [
        ("a.jpg", "JPEG", False), ("a.JPEG", "JPEG", False), ("a.jpg", "MPO", False), ("a.png", "JPEG", True),
        ("a.jpg", "GIF", True), ("a.heic", "JPEG", True), ("a.tif", "TIFF", False), ("a", "PNG", False),
        ("a.v2", "PNG", False), ("a.svg", "PNG", True), ("a.mpo", "MPO", False), ("a.heic", "HEIF", False),
        ("a.heif", "AVIF", False), ("a.jfif", "JPEG", False), ("a.pgm", "PPM", False), ("a.nef", "TIFF", True),
    ],
)  # fmt: skip
def test_suffix_against_content(path, content, wrong):
    assert (wrong_extension(path, content) is not None) == wrong
