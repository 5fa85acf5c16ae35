import os

import pytest

from tests.curate.make_images import write
from winnow.images import CLASSES, locate, wrong_extension


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
        ("a.v2", "PNG", False), ("a.svg", "PNG", True),
    ],
)  # fmt: skip
def test_suffix_against_content(path, content, wrong):
    assert (wrong_extension(path, content) is not None) == wrong
