"""Tiles: put together they are the decoded picture; one decoding makes them all; the folder of them is bounded."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dashboards.data.catalog import find_folder
from dashboards.images import store, tiles, tiles_url
from dashboards.images.routes import routes
from dashboards.images.store import NoImageError
from dashboards.images.tiles import TILE, Info, build, info_of, make_room, opened, tile_of
from winnow.files import sha256_bytes
from winnow.media.images import decode


def _file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def _photo(width: int, height: int) -> Image.Image:
    """Smooth colours, which JPEG keeps closely."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, (across + down) / 2], axis=-1).astype(np.uint8))


def _read(pyramid: bytes, level: int, x: int, y: int) -> Image.Image:
    return Image.open(io.BytesIO(tile_of(io.BytesIO(pyramid), level, x, y)))


def _together(pyramid: bytes, level: int) -> Image.Image:
    """All tiles of a level, each where it belongs."""
    info = info_of(io.BytesIO(pyramid))
    across, down = info.grid(level)
    whole = Image.new("RGB", (-(-info.width // 2**level), -(-info.height // 2**level)))
    for x in range(across):
        for y in range(down):
            part = _read(pyramid, level, x, y)
            assert part.width == min(TILE, whole.width - x * TILE) and part.height == min(TILE, whole.height - y * TILE)
            whole.paste(part, (x * TILE, y * TILE))
    return whole


def _decoded(data: bytes) -> Image.Image:
    image, _ = decode(data, max_bytes=10**9, max_pixels=10**9)
    assert image is not None
    return image


@pytest.mark.parametrize("size", [(1, 1), (512, 512), (513, 20), (1025, 700), (3, 1600)])
def test_tiles_put_together_are_the_picture(size: tuple[int, int]) -> None:
    data = _file(_noise(*size))
    pyramid = build(data)
    level = _decoded(data)
    for number in range(info_of(io.BytesIO(pyramid)).levels):
        assert _together(pyramid, number).tobytes() == level.tobytes(), number
        level = level.reduce(2)
    assert max(_together(pyramid, info_of(io.BytesIO(pyramid)).levels - 1).size) <= TILE


def test_large_pictures_are_jpeg_and_close_to_the_original() -> None:
    data = _file(_photo(1500, 1100))
    pyramid = build(data)
    first = tile_of(io.BytesIO(pyramid), 0, 2, 2)
    assert first.startswith(b"\xff\xd8") and Image.open(io.BytesIO(first)).size == (476, 76)
    apart = np.abs(np.asarray(_together(pyramid, 0), int) - np.asarray(_decoded(data), int))
    assert apart.mean() < 1 and apart.max() < 16


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiles_are_turned_as_the_picture_is_seen(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _file(_noise(700, 30), "PNG", exif=exif)
    pyramid, seen = build(data), _decoded(data)
    assert (info_of(io.BytesIO(pyramid)).width, info_of(io.BytesIO(pyramid)).height) == seen.size
    assert seen.size == ((30, 700) if orientation > 4 else (700, 30))
    assert _together(pyramid, 0).tobytes() == seen.tobytes()


def _palette() -> bytes:
    return _file(_noise(600, 20).quantize(64))


def _grey16() -> bytes:
    return _file(Image.fromarray((np.arange(600 * 20, dtype=np.uint16) * 5).reshape(20, 600)))


def _alpha() -> bytes:
    image = _noise(600, 20).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((600, 20)))
    return _file(image)


@pytest.mark.parametrize(
    "data",
    [_palette(), _grey16(), _alpha(), _file(_noise(600, 20).convert("CMYK"), "TIFF")],
    ids=["palette", "16 bits", "alpha", "CMYK"],
)
def test_every_mode_has_the_colours_that_curation_sees(data: bytes) -> None:
    together, seen = _together(build(data), 0), _decoded(data)
    assert together.tobytes() == seen.tobytes() and len(set(seen.tobytes())) > 16


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_last_level_is_the_first_that_fits_into_a_tile(width: int, height: int) -> None:
    levels = 1
    while max(-(-width // 2 ** (levels - 1)), -(-height // 2 ** (levels - 1))) > TILE:
        levels += 1
    assert (-(-max(width, height) // TILE) - 1).bit_length() + 1 == levels
    assert Info(width, height, TILE, levels).grid(levels - 1) == (1, 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**70), st.integers(0, 2**70))
def test_tiles_that_are_not_there_are_refused(level: int, x: int, y: int) -> None:
    pyramid = build(_file(_noise(600, 20)))
    if (level, x, y) in ((0, 0, 0), (0, 1, 0), (1, 0, 0)):
        assert _read(pyramid, level, x, y).width <= TILE
    else:
        with pytest.raises(NoImageError, match="none"):
            tile_of(io.BytesIO(pyramid), level, x, y)


def test_one_decoding_serves_all_who_ask_at_once(tmp_path: Path) -> None:
    data, asked, found = _file(_noise(600, 20)), [], []

    def read() -> bytes:
        asked.append(1)
        return data

    def ask() -> None:
        with opened(tmp_path, sha256_bytes(data), read) as pyramid:
            found.append(tile_of(pyramid, 0, 1, 0))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1 and len(found) == 6 and len(set(found)) == 1


def test_a_cache_that_cannot_be_written_still_shows_tiles(tmp_path: Path) -> None:
    data = _file(_noise(30, 20))
    (tmp_path / "file").write_text("")
    with opened(tmp_path / "file", sha256_bytes(data), lambda: data) as pyramid:
        assert info_of(pyramid) == Info(30, 20, TILE, 1)


def test_the_folder_stays_below_its_cap_and_what_is_looked_at_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = {sha256_bytes(data): data for data in (_file(_noise(100, number)) for number in range(90, 100))}
    monkeypatch.setattr(tiles, "CAP", 100_000)  # of about 30,000 each
    first = next(iter(pictures))
    for key, data in pictures.items():
        opened(tmp_path, key, lambda data=data: data).close()
        opened(tmp_path, first, lambda: pytest.fail("the one looked at was deleted")).close()
        assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 100_000
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3
    make_room(tmp_path, 0)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def client(own: Path) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=routes(own)), base_url="http://127.0.0.1") as opened:
        yield opened


def _address_of_first(own: Path) -> str:
    row = pd.read_parquet(own / "evals" / "demo-tuned" / "predictions.parquet").iloc[0]
    folder = find_folder(own, "evals", "demo-tuned")
    assert folder
    found = tiles_url(folder, row["sample_id"], list(row["image_keys"]))
    assert found
    return found


def test_a_tile_is_served_by_its_address(own: Path, client: TestClient) -> None:
    address = _address_of_first(own)
    answer = client.get(address)
    assert answer.json() == {"width": 64, "height": 64, "tile": 512, "levels": 1}
    tile = client.get(address.replace("/info?", "/0/0-0?"))
    assert tile.headers["content-type"] == "image/png" and "immutable" in tile.headers["cache-control"]
    original = Image.open(own / "raw" / "images" / "test" / "0.png").convert("RGB")
    assert Image.open(io.BytesIO(tile.content)).tobytes() == original.tobytes()


@pytest.mark.parametrize("part", ["0/1-0", "1/0-0", "0/0-1", "-1/0-0", "0/0", "0/..%2f..%2fetc-0", "0/9999999999999-0"])
def test_only_tiles_of_the_grid_are_served(own: Path, client: TestClient, part: str) -> None:
    address = _address_of_first(own)
    answer = client.get(address.replace("/info?", f"/{part}?"))
    assert answer.status_code == 404 and not answer.headers["content-type"].startswith("image/png")


@pytest.mark.parametrize("change", [("id=", "id=x"), ("/evals/", "/runs/"), ("demo-tuned", "..%2fdemo"), ("info", "x")])
def test_what_is_not_in_the_tables_is_not_cut(own: Path, client: TestClient, change: tuple[str, str]) -> None:
    assert client.get(_address_of_first(own).replace(*change)).status_code == 404
    assert not (own / "cache").exists()


def test_why_there_are_no_tiles_is_said(own: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    address = _address_of_first(own)
    (own / "raw" / "images" / "test" / "0.png").unlink()
    answer = client.get(address)
    assert answer.status_code == 404 and answer.json() == {"problem": "image missing"}
    assert "no-store" in answer.headers["cache-control"]
    with pytest.raises(NoImageError, match="unreadable"):
        build(b"no image")
    monkeypatch.setattr(store, "LIMITS", store.LIMITS.model_copy(update={"max_pixels": 99}))
    with pytest.raises(NoImageError, match="too_large"):
        build(_file(_noise(10, 10)))


def test_rows_without_a_readable_image_have_no_tiles(own: Path) -> None:
    folder = find_folder(own, "evals", "demo-tuned")
    assert folder
    assert [tiles_url(folder, "a", keys) for keys in ([], [None], ["../x"])] == [None] * 3
