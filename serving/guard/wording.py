"""A small text classifier beside the rules: how a text is worded, and which words of the rules it has in a sentence.

``studies.guard.train`` makes its weights, which ship. It takes a fraction of a millisecond and no library of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from serving.guard.mention import unquoted, without
from serving.guard.ngrams import BUCKETS, window_sums, words_of
from serving.guard.normalise import plain, unfolded
from serving.guard.slots import SLOTS, slots_of
from winnow.errors import UserError

SHIPPED = Path(__file__).with_name("wording.safetensors")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Weights:
    """What was learnt: a text's logit is ``bias`` plus what its worst window and its slots weigh.

    Attributes:
        table: of pieces (serving.guard.ngrams), 2^18.
        slots: of the words of rules, in the order of ``SLOTS``.
    """

    table: npt.NDArray[np.float32]
    slots: npt.NDArray[np.float32]
    bias: float


def read_weights(path: Path = SHIPPED) -> Weights:
    """Weights from a file of safetensors with ``table`` and ``head``.

    Raises:
        UserError: it is too large, no such file, or has other tensors.
    """
    what = f"{path}: no weights of the wording classifier"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{what}: it is larger than {_MOST_BYTES >> 20} MiB; take the file that ships")
        with safe_open(path, "numpy") as file:
            table, head = file.get_tensor("table"), file.get_tensor("head")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{what} ({' '.join(str(error).split())[:200]}); take the file that ships") from error
    if (table.dtype, table.shape, head.dtype, head.shape) != (np.float16, (BUCKETS,), np.float32, (1 + len(SLOTS),)):
        raise UserError(f"{what}: its tensors have other types or shapes; take the file that ships")
    if not (np.isfinite(table).all() and np.isfinite(head).all()):
        raise UserError(f"{what}: a weight is no finite number; take the file that ships")
    return Weights(table.astype(np.float32), head[1:], float(head[0]))


shipped = functools.cache(read_weights)


def score(
    text: str, weights: Weights | None = None, *, read_off_image: bool = False, excused: Sequence[str] = ()
) -> float:
    """The probability that a text, or what is encoded in it, is an injected instruction.

    Args:
        weights: None: those that ship.
        read_off_image: nothing is excused as a quotation.
        excused: what rules found and excused (serving.guard.injection.look), which is not looked at again.
    """
    known = weights or shipped()
    views = dict.fromkeys((without(plain(text), excused), *map(plain, unfolded(text))))
    return max(_score(view if read_off_image else unquoted(view), known) for view in views)


def _score(seen: str, weights: Weights) -> float:
    held = slots_of(seen)
    of_slots = sum(float(weight) for name, weight in zip(SLOTS, weights.slots, strict=True) if name in held)
    worst = float(window_sums(words_of(seen), weights.table).max())
    return float(1 / (1 + np.exp(-(weights.bias + of_slots + worst))))
