"""Frames of videos: which ones, how they look, what is refused."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from PIL import Image

from tests.finetune.videos import write_sound, write_video
from winnow.errors import UserError
from winnow.media.sounds import read_sound
from winnow.media.videos import clip_of_images, even_indices, read_clip


def same(image):
    return image


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("a.avi", "mpeg4"), ("a.webm", "libvpx"), ("a.mkv", "ffv1")]
)
def test_frames_are_evenly_spaced_and_in_place(tmp_path, name, codec):
    write_video(tmp_path / name, 20, codec=codec)
    clip = read_clip(str(tmp_path), name, 5, same)
    assert clip.indices == (0, 5, 10, 14, 19) and clip.total == 20 and clip.fps == pytest.approx(10, rel=0.02)
    assert clip.frames.shape == (5, 48, 64, 3)
    levels = clip.frames[:, 24, 32].mean(axis=1)
    assert np.abs(levels - 12 * np.array(clip.indices)).max() < 6


def test_short_videos_and_exact_counts(tmp_path):
    write_video(tmp_path / "a.mp4", 3)
    assert read_clip(str(tmp_path), "a.mp4", 8, same).indices == (0, 1, 2)
    clip = read_clip(str(tmp_path), "a.mp4", 8, same, exact=True)
    assert clip.indices == even_indices(3, 8) == (0, 0, 1, 1, 1, 1, 2, 2) and len(clip.frames) == 8
    assert even_indices(9, 1) == (4,) and even_indices(1, 3) == (0, 0, 0)


def test_frames_are_upright(tmp_path):
    """Phones store the turn in the header: here a quarter turn clockwise."""
    data = bytearray(write_video(tmp_path / "a.mp4", 2).read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    assert read_clip(str(tmp_path), "turned.mp4", 2, same).frames.shape == (2, 64, 48, 3)


def test_lists_of_images_are_videos(tmp_path):
    images = {"a": Image.new("RGB", (8, 6), (9, 9, 9)), "b": Image.new("RGB", (4, 6)), "c": Image.new("RGB", (8, 6))}
    clip = clip_of_images(("a", "b", "c"), 2, images.__getitem__)
    assert clip.indices == (0, 2) and clip.frames.shape == (2, 6, 8, 3) and clip.metadata["duration"] == 1.5
    assert clip_of_images(("a", "b"), 2, images.__getitem__).frames.shape == (2, 6, 8, 3)


def test_no_other_file_is_opened(tmp_path, monkeypatch):
    """Playlists that name another video, which the decoder would follow, give nothing of it."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4", 4)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    (tmp_path / "stream.mp4").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/a.mp4\n#EXT-X-ENDLIST\n"
    )
    for name in ("list.mp4", "stream.mp4"):
        with pytest.raises(ValueError, match="unreadable"):
            read_clip(str(tmp_path), name, 2, same)


def test_sounds_are_mono_at_the_wanted_rate(tmp_path):
    write_sound(tmp_path / "a.wav", 0.5, rate=8000)
    samples = read_sound(str(tmp_path), "a.wav", 16000)
    assert samples.dtype == np.float32 and len(samples) == pytest.approx(8000, abs=200)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * 16000 / len(samples) == pytest.approx(440, abs=5)
    with pytest.raises(ValueError, match="holds no audio"):
        read_sound(str(tmp_path), write_video(tmp_path / "a.mp4", 2).name, 16000)


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", 2)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'winnow-vlm\[video\]'"):
        read_clip(str(tmp_path), "a.mp4", 2, same)
    with pytest.raises(UserError, match=r"pip install 'winnow-vlm\[video\]'"):
        read_sound(str(tmp_path), "a.mp4", 16000)
