"""Images: found by id only, decoded under caps, cached by content."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dashboards.data.catalog import Folder, scan
from dashboards.images import store, thumb_url
from dashboards.images.routes import routes
from dashboards.images.store import REASONS, NoImageError, contained
from dashboards.images.thumbnails import cached, media_type, placeholder, render
from winnow.files import sha256_bytes


def _png(width: int, height: int, mode: str = "RGB", colour: object = None) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _bomb(width: int, height: int) -> bytes:
    """A few bytes that claim to be a huge image."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.fixture
def client(own: Path) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=routes(own)), base_url="http://127.0.0.1") as opened:
        yield opened


def _folder(root: Path, kind: str = "evals", name: str = "demo-tuned") -> Folder:
    found = scan(root).find(kind, name)  # type: ignore[arg-type]
    assert found
    return found


def _url_of_first(root: Path, size: str = "tile") -> str:
    import pandas as pd

    row = pd.read_parquet(root / "evals" / "demo-tuned" / "predictions.parquet").iloc[0]
    return thumb_url(_folder(root), row["sample_id"], list(row["image_keys"]), size)


def test_a_thumbnail_is_served_and_may_be_kept_by_the_browser(own: Path, client: TestClient) -> None:
    answer = client.get(_url_of_first(own))
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    shown = Image.open(io.BytesIO(answer.content))
    original = Image.open(own / "raw" / "images" / "test" / "0.png").convert("RGB")
    assert shown.size == (320, 320) and original.size == (64, 64), "five pixels for one"
    assert shown.resize((64, 64), Image.Resampling.NEAREST).tobytes() == original.tobytes(), "no colour is new"


def test_thumbnails_are_rendered_once(own: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    url = _url_of_first(own)
    first = client.get(url)
    monkeypatch.setattr(store, "decode", lambda *_: pytest.fail("decoded twice"))
    assert client.get(url).content == first.content
    assert len([path for path in (own / "cache").rglob("*") if path.is_file()]) == 1


def test_curated_rows_have_images_too(own: Path, client: TestClient) -> None:
    import pandas as pd

    row = pd.read_parquet(own / "curated" / "demo" / "samples.parquet").iloc[0]
    url = thumb_url(_folder(own, "curated", "demo"), row["sample_id"], list(row["image_keys"]), "full")
    assert client.get(url).headers["content-type"].startswith("image/png")


@pytest.mark.parametrize(
    "path",
    [
        "evals/demo-tuned/tile/{key}?id=nope",
        "evals/demo-tuned/tile/" + "0" * 64 + "?id=easy_vqa/test/0",
        "evals/demo-tuned/huge/{key}?id=easy_vqa/test/0",
        "evals/demo-tuned/tile/..%2f..%2fetc%2fpasswd?id=easy_vqa/test/0",
        "evals/..%2f..%2fetc/tile/{key}?id=easy_vqa/test/0",
        "evals/nope/tile/{key}?id=easy_vqa/test/0",
        "runs/demo/tile/{key}?id=easy_vqa/test/0",
        "raw/demo/tile/{key}?id=easy_vqa/test/0",
        "evals/demo-tuned/tile/{key}?id=../../../etc/passwd",
    ],
)
def test_what_is_not_in_the_tables_is_not_served(own: Path, client: TestClient, path: str) -> None:
    key = _url_of_first(own).split("/")[-1].split("?")[0]
    answer = client.get("/app/static/thumb/" + path.format(key=key))
    assert answer.status_code == 404
    assert not answer.headers["content-type"].startswith(("image/png", "image/jpeg"))


def test_table_that_names_a_file_outside_the_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(_png(4, 4))
    (root / "inside.png").write_bytes(_png(4, 4))
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "folder").mkdir()
    assert contained(root, "inside.png") == root / "inside.png"
    reasons = {}
    for relative in (
        "../secret.png", "link.png", str(tmp_path / "secret.png"), "x/../../secret.png", "inside.png\0", "folder",
        "none.png",
    ):  # fmt: skip
        with pytest.raises(NoImageError) as refused:
            contained(root, relative)
        reasons[relative] = refused.value.reason
    assert list(reasons.values()) == ["outside"] * 5 + ["missing"] * 2


def test_changed_corrupt_and_missing_files_show_a_placeholder(own: Path, client: TestClient) -> None:
    image = own / "raw" / "images" / "test" / "0.png"
    url = _url_of_first(own)
    image.write_bytes(_png(8, 8))
    answer = client.get(url)
    assert answer.headers["content-type"] == "image/svg+xml" and REASONS["changed"] in answer.text
    image.unlink()
    assert REASONS["missing"] in client.get(url).text
    assert "no-store" in client.get(url).headers["cache-control"]
    assert not (own / "cache").exists() or not any(path.is_file() for path in (own / "cache").rglob("*"))


def test_rows_without_a_key_point_to_a_placeholder(own: Path, client: TestClient) -> None:
    folder = _folder(own)
    assert "missing" in thumb_url(folder, "a", [None], "tile")
    assert "none" in thumb_url(folder, "a", [], "tile")
    assert "missing" in thumb_url(folder, "a", ["../../etc/passwd"], "tile")
    for reason in REASONS:
        assert client.get(f"/app/static/thumb/{reason}").status_code == 200
    assert client.get("/app/static/thumb/<script>").status_code == 404


def test_ids_with_any_characters_reach_the_table(own: Path) -> None:
    from urllib.parse import parse_qs, urlsplit

    for sample_id in ("a/b?c=d&e#f", "ü %2f", '"><img src=x>', "../x"):
        url = thumb_url(_folder(own), sample_id, ["0" * 64], "tile")
        assert parse_qs(urlsplit(url).query) == {"id": [sample_id]}
        assert "<" not in url and '"' not in url


def test_placeholder_never_repeats_its_argument() -> None:
    assert b"<script>" not in placeholder("<script>")


@pytest.mark.parametrize("size", [320, 1280])
def test_large_images_shrink_to_jpeg(size: int) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((2000, 1500), 60).convert("RGB").save(buffer, "JPEG")
    image = render(buffer.getvalue(), size)
    assert media_type(image) == "image/jpeg"
    assert max(Image.open(io.BytesIO(image)).size) == size


@pytest.mark.parametrize(
    ("side", "size", "shown"), [(64, 320, 320), (64, 1280, 640), (200, 320, 200), (250, 1280, 500)]
)
def test_tiny_images_grow_by_whole_pixels(side: int, size: int, shown: int) -> None:
    noise = Image.effect_noise((side, side), 60).convert("RGB")
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    made = Image.open(io.BytesIO(render(buffer.getvalue(), size)))
    assert made.size == (shown, shown)
    assert made.resize((side, side), Image.Resampling.NEAREST).tobytes() == noise.tobytes()


def test_exif_orientation_and_transparency() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20)).save(buffer, "JPEG", exif=exif)
    assert Image.open(io.BytesIO(render(buffer.getvalue(), 320))).size == (160, 320)
    shown = Image.open(io.BytesIO(render(_png(4, 4, "RGBA", (255, 0, 0, 0)), 320)))
    assert shown.getpixel((0, 0)) == (255, 255, 255), "transparent is shown on white"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK"])
def test_all_common_modes_render(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (9, 7)).save(buffer, "TIFF")
    assert Image.open(io.BytesIO(render(buffer.getvalue(), 320))).mode == "RGB"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pixel_cap_holds_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(NoImageError) as refused:
        render(_bomb(12_000, 12_000), 320)
    assert refused.value.reason == "too_large"
    with pytest.raises(NoImageError, match="too_large"):
        render(_bomb(60_000, 60_000), 320)


def test_byte_cap(own: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LIMITS", store.LIMITS.model_copy(update={"max_bytes": 10}))
    assert REASONS["too_large"] in client.get(_url_of_first(own)).text


@pytest.mark.parametrize("cut", [0, 1, 8, 20, 60, 200])
def test_truncated_and_broken_bytes_are_unreadable(cut: int) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 60).save(buffer, "PNG")
    with pytest.raises(NoImageError):
        render(buffer.getvalue()[:cut], 320)
    with pytest.raises(NoImageError):
        render(b"<svg onload=alert(1)></svg>", 320)


def test_two_requests_at_once_render_the_same_file(tmp_path: Path) -> None:
    key, data = sha256_bytes(b"x"), _png(30, 30)
    barrier = threading.Barrier(4)
    found: list[bytes] = []

    def make() -> bytes:
        barrier.wait()
        return render(data, 320)

    threads = [threading.Thread(target=lambda: found.append(cached(tmp_path, key, "tile", make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 4
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [key]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert cached(tmp_path / "file", "0" * 64, "tile", lambda: b"made") == b"made"
