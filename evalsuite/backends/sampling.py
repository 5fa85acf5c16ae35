"""Sampling at a temperature such that a row's answer depends on its own request alone, whatever its batch holds.

The most likely token of logits / temperature + Gumbel noise is a sample from softmax(logits / temperature)
(Gumbel-max). The noise is drawn by request and position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evalsuite.backends import Request
from winnow.files import sha256_bytes


def with_noise(logits: Any, requests: Sequence[Request], positions: Sequence[int]) -> Any:
    """(rows, vocabulary) logits whose argmax is the next token of each row.

    Args:
        requests: of each row; without a temperature its logits stay as they are.
        positions: number of tokens that each row has already.
    """
    if not any(request.temperature for request in requests):
        return logits
    import torch

    noisy = logits.float().clone()
    for row, (request, position) in enumerate(zip(requests, positions, strict=True)):
        if request.temperature:
            seed = int(sha256_bytes(f"{request.key} {position}".encode())[:15], 16)
            generator = torch.Generator().manual_seed(seed)
            uniform = torch.rand(noisy.shape[1], generator=generator, dtype=torch.float64).clamp(min=1e-300)
            noise = -torch.log(-torch.log(uniform))
            noisy[row] = noisy[row] / request.temperature + noise.to(noisy)
    return noisy
