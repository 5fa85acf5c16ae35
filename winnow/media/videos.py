"""Video files: a few frames of each, evenly spaced, as images curated like any other; decoded by PyAV.

A file is read through its handle with an allow-list of formats, so that none can make the decoder open another file
or address (playlists do).
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.errors import UserError
from winnow.media.images import DEFAULT_MAX_PIXELS
from winnow.media.locate import locate

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 2 << 30
MAX_SECONDS = 4 * 3600
_MAX_DECODED = 20_000  # frames, to reach those that are wanted
_MAX_PACKETS = 5_000_000
_FORMATS = "mov,mp4,m4a,3gp,matroska,webm,avi,gif,mpeg,mpegts,ogg,flv,asf,wav,mp3,flac,aac,w64,aiff"
LIST_FPS = 2.0  # of a video that is given as a list of images


@dataclass(frozen=True)
class Clip:
    """Frames of a video.

    Attributes:
        frames: uint8 (frames, height, width, 3), RGB.
        indices: their numbers among all frames of the video.
        total: number of frames of the video.
        fps: frames per second of the video.
    """

    frames: np.ndarray
    indices: tuple[int, ...]
    total: int
    fps: float

    @property
    def metadata(self) -> dict[str, Any]:
        """What video processors of transformers take as ``video_metadata``."""
        _, height, width, _ = self.frames.shape
        return {
            "total_num_frames": self.total, "fps": self.fps, "duration": self.total / self.fps, "height": height,
            "width": width, "frames_indices": list(self.indices),
        }  # fmt: skip

    @property
    def form(self) -> ClipForm:
        """All but the pixels."""
        return ClipForm(self.frames.shape[1:3], self.indices, self.total, round(self.fps, 3))


@dataclass(frozen=True, slots=True)
class ClipForm:
    """What the number of tokens of a clip can depend on; attributes as of ``Clip``, ``size`` is (height, width)."""

    size: tuple[int, ...]
    indices: tuple[int, ...]
    total: int
    fps: float

    def blank(self) -> Clip:
        """A black clip of this form."""
        return Clip(np.zeros((len(self.indices), *self.size, 3), np.uint8), self.indices, self.total, self.fps)


def even_indices(total: int, count: int) -> tuple[int, ...]:
    """``count`` numbers below ``total``, evenly spaced from the first to the last; some repeat if there are fewer."""
    if count == 1:
        return (total // 2,)
    return tuple(round(place * (total - 1) / (count - 1)) for place in range(count))


def read_clip(root: str, path: str, count: int, fit: Callable[[Image], Image], *, exact: bool = False) -> Clip:
    """Read evenly spaced frames of a video file below ``root``.

    Args:
        root: a resolved folder.
        count: most frames.
        fit: applied to each frame, for example to scale it down.
        exact: give ``count`` frames of a shorter video too, some of them twice.

    Raises:
        ValueError: what is wrong with the file.
        UserError: PyAV is not installed.
    """
    with opened(root, path) as container:
        stream = next((stream for stream in container.streams.video if not _is_cover(stream)), None)
        if stream is None:
            raise ValueError("not_a_video (holds no video stream)")
        if stream.width * stream.height > DEFAULT_MAX_PIXELS:
            raise ValueError(f"too_large_pixels (frames of {stream.width} × {stream.height})")
        times, keys = _times(container, stream)
        total = len(times)
        seconds = float((times[-1] - times[0]) * stream.time_base) if total > 1 else 0.0
        if seconds > MAX_SECONDS:
            raise ValueError(f"too_long ({seconds:,.0f} s, the cap is {MAX_SECONDS:,} s)")
        wanted = even_indices(total, count if exact else min(count, total))
        found = _decoded(container, stream, [times[index] for index in dict.fromkeys(wanted)], keys, fit)
    frames = dict(zip(dict.fromkeys(wanted), found, strict=True))
    fps = (total - 1) / seconds if seconds > 0 else LIST_FPS
    return Clip(np.stack([frames[index] for index in wanted]), wanted, total, fps)


def clip_of_images(paths: tuple[str, ...], count: int, read: Callable[[str], Image], *, exact: bool = False) -> Clip:
    """Evenly spaced frames of a video that is given as image files, two of which count as a second.

    Frames of another size than the first are scaled to it. Arguments as of ``read_clip``.
    """
    wanted = even_indices(len(paths), count if exact else min(count, len(paths)))
    images = {index: read(paths[index]) for index in wanted}
    size = images[wanted[0]].size
    frames = [image if image.size == size else image.resize(size) for image in (images[index] for index in wanted)]
    return Clip(np.stack([np.asarray(frame) for frame in frames]), wanted, len(paths), LIST_FPS)


@contextmanager
def opened(root: str, path: str) -> Iterator[Any]:
    """A PyAV container for a file below ``root``.

    Raises:
        ValueError: what is wrong with the file, also while it is read.
        UserError: PyAV is not installed.
    """
    located = locate(path, root, max_bytes=MAX_BYTES)
    if located.file is None:
        raise ValueError(f"{located.error} ({located.detail})")
    try:
        import av
    except ImportError:
        raise UserError("videos and sounds need PyAV: pip install 'winnow-vlm[video]'") from None
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": "pipe"}
    try:
        with Path(located.file).open("rb") as handle, av.open(handle, options=options) as container:
            yield container
    except (av.ArgumentError, av.InvalidDataError) as error:
        raise ValueError("unreadable (no video or sound in a known format, or a damaged one)") from error
    except av.FFmpegError as error:
        raise ValueError(f"unreadable ({error.strerror or error})") from error


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition.value & stream.disposition.attached_pic.value)


def _times(container: Any, stream: Any) -> tuple[list[int], list[int]]:
    """Times of all frames and of the key frames, both sorted, in units of the stream; found without decoding."""
    times: list[int] = []
    keys: list[int] = []
    for packet in container.demux(stream):
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or not packet.size:
            continue
        times.append(time)
        if packet.is_keyframe:
            keys.append(time)
        if len(times) > _MAX_PACKETS:
            raise ValueError(f"too_long (more than {_MAX_PACKETS:,} frames)")
    if not times:
        raise ValueError("unreadable (holds no frames)")
    return sorted(times), sorted(keys)


def _decoded(
    container: Any, stream: Any, wanted: list[int], keys: list[int], fit: Callable[[Image], Image]
) -> list[Any]:
    """The frames at the wanted times (ascending), uint8 (height, width, 3) each, all of the first one's size."""
    found: list[Any] = []
    position, decoded = -1, 0
    last = None
    frames: Iterator[Any] = iter(())
    for time in wanted:
        key = keys[max(bisect.bisect_right(keys, time) - 1, 0)] if keys else wanted[0]
        if position < 0 or key > position:  # else decoding on is shorter
            container.seek(key, stream=stream)
            frames = container.decode(stream)
        if last is None or position < time:
            for frame in frames:
                decoded += 1
                if decoded > _MAX_DECODED:
                    raise ValueError(f"too_costly (needs more than {_MAX_DECODED:,} frames decoded)")
                position = frame.pts if frame.pts is not None else position + 1
                last = frame
                if position >= time:
                    break
        if last is None:
            raise ValueError("unreadable (no frame can be decoded)")
        image = fit(last.to_image().rotate(last.rotation, expand=True) if last.rotation else last.to_image())
        shape = found[0].shape[1::-1] if found else image.size
        found.append(np.asarray(image if image.size == shape else image.resize(shape)))
    return found
