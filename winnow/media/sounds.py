"""Sound files as samples of one channel, decoded by PyAV under the same guards as videos."""

from __future__ import annotations

import numpy as np

from winnow.media.videos import opened

MAX_SECONDS = 1800


def read_sound(root: str, path: str, rate: int) -> np.ndarray:
    """The samples of a sound file (or of a video's sound) below ``root``: float32 (samples,), from -1 to 1.

    Args:
        root: a resolved folder.
        rate: samples per second.

    Raises:
        ValueError: what is wrong with the file.
        UserError: PyAV is not installed.
    """
    parts: list[np.ndarray] = []
    count = 0
    with opened(root, path) as container:
        from av import AudioResampler

        if not container.streams.audio:
            raise ValueError("not_a_sound (holds no audio stream)")
        resampler = AudioResampler(format="flt", layout="mono", rate=rate)
        for frame in container.decode(container.streams.audio[0]):
            for resampled in resampler.resample(frame):
                parts.append(resampled.to_ndarray().reshape(-1))
                count += len(parts[-1])
            if count > MAX_SECONDS * rate:
                raise ValueError(f"too_long (more than {MAX_SECONDS:,} s)")
        parts += [resampled.to_ndarray().reshape(-1) for resampled in resampler.resample(None)]
    if not count:
        raise ValueError("unreadable (holds no samples)")
    return np.concatenate(parts)
