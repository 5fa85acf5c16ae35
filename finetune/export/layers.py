"""Which modules of a model are quantised, and whether a written checkpoint holds just those, under published names."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.model.shards import tensor_keys
from winnow.errors import UserError
from winnow.vlm.anatomy import below, find_parts
from winnow.vlm.models import empty_model, outside_decoder
from winnow.vlm.tensor_names import published_names

# TurboMind takes groups of 32 and 128, Marlin -1, 32, 64 and 128.
GROUP_SIZES = (128, 32)
_PACKED = (".weight_packed", ".weight_scale")


@dataclass(frozen=True)
class Layers:
    """The linear layers of a model.

    Attributes:
        quantised: the decoder's, by their published names without ``.weight``.
        ignored: ``re:`` and a regular expression for each module that stays whole, which fits the names that any
            library gives it: by its last levels alone.
        decoder: regular expression of the start of the decoder's module names.
        widths: inputs of the decoder's layers.
        published: name of every parameter and buffer → its published name.
        tied: the output layer's weight is the embedding's, so that files hold it once.
    """

    quantised: frozenset[str]
    ignored: list[str]
    decoder: str
    widths: frozenset[int]
    published: dict[str, str]
    tied: frozenset[str]

    def group_size(self) -> int:
        """The largest group that all rows consist of.

        Raises:
            UserError: there is none.
        """
        for size in GROUP_SIZES:
            if all(width % size == 0 for width in self.widths):
                return size
        odd = min(width for width in self.widths if width % GROUP_SIZES[-1])
        raise UserError(f"a layer has {odd} inputs, no multiple of 32, so 4 bits are not possible; give --to int8")


def layers_of(model: str, *, fused_experts: bool = False) -> Layers:
    """The layers of a checkpoint's architecture; loads no weight.

    Args:
        fused_experts: take them too, as nothing will be quantised.

    Raises:
        UserError: it is quantised already, or its experts are fused, which the quantisers do not take.
    """
    import torch

    empty = empty_model(model)
    parts = find_parts(empty)
    if parts.experts and not fused_experts:
        raise UserError(f"{model}: has fused experts, which are not quantised here; give --to merged")
    modules = dict(empty.named_modules())
    head = empty.get_output_embeddings()
    whole = [*outside_decoder(empty), *(name for name, module in modules.items() if module is head)]
    whole = sorted({*whole, *filter(None, [parts.encoder, parts.head, *parts.projector, *parts.other])})
    linear = [
        name for name, module in modules.items()
        if isinstance(module, torch.nn.Linear) and below(name, [parts.decoder]) and not below(name, whole)
    ]  # fmt: skip
    published = published_names(empty)
    return Layers(
        quantised=frozenset(published[f"{name}.weight"].removesuffix(".weight") for name in linear),
        ignored=[f"re:{_pattern(name, linear)}" for name in whole if not _inside_another(name, whole)],
        decoder=rf"(.*\.)?{re.escape(parts.decoder.rpartition('.')[2])}\.",
        widths=frozenset(modules[name].in_features for name in linear),
        published=published,
        tied=frozenset({*empty.all_tied_weights_keys, *empty.all_tied_weights_keys.values()}),
    )


def _inside_another(name: str, modules: Sequence[str]) -> bool:
    return below(name, [other for other in modules if other != name])


def _pattern(name: str, linear: Sequence[str]) -> str:
    """A pattern of the module and what is in it, by as few of its last levels as fit none of the ``linear`` ones."""
    levels = name.split(".")
    for count in range(1, len(levels) + 1):
        pattern = rf"(.*\.)?{re.escape('.'.join(levels[-count:]))}(\..*)?$"
        if not any(re.match(pattern, layer) for layer in linear):
            return pattern
    raise UserError(f"{name}: cannot be told from the decoder's layers by its name; give --to merged")


def check_layout(folder: Path, layers: Layers, *, packed: bool) -> None:
    """Check the names in a checkpoint's files.

    Args:
        packed: whether the decoder's layers are quantised; else nothing is.

    Raises:
        UserError: a name is not the published one, other layers are quantised than should be, or the list of ignored
            ones would not hold in another library.
    """
    keys = tensor_keys(folder)
    found = frozenset(key.removesuffix(end) for key in keys for end in _PACKED if key.endswith(end))
    wanted = layers.quantised if packed else frozenset()
    if more := found - wanted:
        raise UserError(f"{folder}: {_some(more)} should be whole and is quantised, or has no published name")
    if less := wanted - found:
        raise UserError(f"{folder}: {_some(less)} should be quantised and is whole, or has no published name")
    whole = {name for name in layers.published.values() if name.rpartition(".")[0] not in wanted}
    tied = {layers.published[name] for name in layers.tied if name in layers.published}
    if lost := whole - keys.keys() - tied:
        raise UserError(f"{folder}: has no tensor {min(lost)}, the name that the model's family publishes")
    if packed:
        _check_ignored(folder, layers)


def _check_ignored(folder: Path, layers: Layers) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    ignored = config.get("quantization_config", {}).get("ignore", [])
    if sorted(ignored) != sorted(layers.ignored):
        raise UserError(
            f"{folder / 'config.json'}: its list of ignored layers is not the export's patterns; a library with other "
            "names for them would quantise the vision tower as it loads and answer nothing right"
        )


def _some(names: Collection[str]) -> str:
    return min(names) + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def weight_bytes(folder: Path) -> int:
    """Size of the files with weights."""
    return sum(path.stat().st_size for end in ("*.safetensors", "*.bin") for path in folder.glob(end))
