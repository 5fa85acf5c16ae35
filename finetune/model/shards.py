"""Writes a checkpoint tensor by tensor, so that only a part of it is in memory at any time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from winnow.files import write_json

SHARD_BYTES = 2 * 2**30
INDEX = "model.safetensors.index.json"


def tensor_keys(folder: Path) -> dict[str, Path]:
    """Key → file of every tensor in a folder's safetensors files, in the order of the files."""
    from safetensors import safe_open

    found = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found.update(dict.fromkeys(file.offset_keys(), path))
    return found


def read_tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """Key and tensor of everything in a folder's safetensors files."""
    from safetensors import safe_open

    for key, path in tensor_keys(folder).items():
        # Opened for each tensor: the pages of a mapped file would stay in memory until it is closed.
        with safe_open(path, framework="pt") as file:
            yield key, file.get_tensor(key).clone()


def write_tensors(tensors: Iterator[tuple[str, Any]], folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write tensors to ``folder`` in safetensors files of about ``shard_bytes``, with transformers' names and index."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    names: list[list[str]] = []
    shard: dict[str, Any] = {}
    total = size = 0

    def flush() -> None:
        nonlocal size
        save_file(shard, folder / f"part-{len(names)}", metadata={"format": "pt"})
        names.append(list(shard))
        shard.clear()
        size = 0

    for key, tensor in tensors:
        if size and size + tensor.nbytes > shard_bytes:
            flush()
        shard[key] = tensor.contiguous()
        size, total = size + tensor.nbytes, total + tensor.nbytes
    flush()
    if len(names) == 1:
        (folder / "part-0").rename(folder / "model.safetensors")
        return
    files = {}
    for number, keys in enumerate(names):
        name = f"model-{number + 1:05d}-of-{len(names):05d}.safetensors"
        (folder / f"part-{number}").rename(folder / name)
        files.update(dict.fromkeys(keys, name))
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": files})
