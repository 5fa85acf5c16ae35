"""Finds the parts of any vision-language model of transformers: image tower, projector, decoder, experts, the rest.

Nothing goes by a model's name. The way of an image is read from the source of the model's own
``get_image_features`` (or ``forward``): the modules that it mentions, in their order.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from winnow.errors import UserError

PartName = Literal["vision tower", "projector", "decoder", "output head", "other"]


@dataclass(frozen=True, slots=True)
class ModelParts:
    """Full module names of a vision-language model's parts.

    A module belongs to the part whose name is the longest start of its own: a tower may lie inside the
    decoder (IDEFICS), a projector inside the tower (Qwen).

    Attributes:
        decoder: the language model.
        encoder: the image tower; None if images enter without one (Fuyu) or as discrete codes (Chameleon).
        head: the output layer, or None.
        projector: the modules between tower and decoder that can be called.
        blocks: the tower's blocks in order, up to the block whose output the projector reads.
        unused: later modules of the tower, whose output nothing reads.
        other: largest modules that belong to none of these: audio and second towers, image generators.
        experts: names of the decoder's parameters that hold all experts of a layer, (experts, rows, columns).
    """

    decoder: str
    encoder: str | None
    head: str | None
    projector: tuple[str, ...]
    blocks: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    experts: tuple[str, ...] = ()

    def part_of(self, name: str) -> PartName:
        """The part that the module or parameter of this full name belongs to."""
        owners: list[tuple[PartName, Iterable[str | None]]] = [
            ("decoder", [self.decoder]), ("vision tower", [self.encoder]), ("other", self.other),
            ("projector", self.projector), ("output head", [self.head]),
        ]  # fmt: skip
        lengths = [
            (len(module), part) for part, modules in owners for module in modules if module and below(name, [module])
        ]
        return max(lengths, default=(0, "other"), key=lambda found: found[0])[1]


def below(name: str, modules: Iterable[str | None]) -> bool:
    """Whether ``name`` is one of ``modules`` or inside one of them; the empty name is the whole model."""
    return any(module is not None and f"{name}.".startswith(f"{module}." if module else "") for module in modules)


def find_parts(model: Any) -> ModelParts:
    """Locate the parts of a model, which may be on the meta device.

    Raises:
        UserError: no way leads from images to its decoder, it has no decoder, or it gives no text.
    """
    kind = type(model).__name__
    modules = dict(model.named_modules())
    names = {id(module): name for name, module in modules.items()}
    decoder = names.get(id(model.get_decoder()))
    if not decoder:
        raise UserError(f"{kind} has no decoder of its own; give a vision-language model")
    head_module = model.get_output_embeddings() or _output_layer(modules[decoder])
    if head_module is None:
        raise UserError(f"{kind} has no output layer over tokens, so it gives no text; give a vision-language model")
    head = names.get(id(head_module))
    owner = max((name for name, module in modules.items() if hasattr(module, "get_image_features")), default=None)
    encoder = _encoder(model, modules, names, decoder, owner)
    if encoder is None and owner is None:
        raise UserError(
            f"{kind} has no vision tower and no other way from images to its decoder; give a vision-language model"
        )
    if codes := _codes(modules, names, owner, decoder):
        parts = ModelParts(decoder, None, head, (), other=codes)
        return replace(parts, other=(*codes, *_rest(model, "", parts)))
    projector = [
        name for found in _between(modules, names, owner, encoder, decoder, head) for name in
        _callable(found, modules[found])
    ]  # fmt: skip
    blocks: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    if encoder is not None:
        tower = modules[encoder]
        lists = _lists(tower, encoder)
        largest = max((_size(modules[name]) for name, _ in lists), default=0)
        lists = [found for found in lists if _size(modules[found[0]]) > largest / 10]  # not its resizing layers
        if not projector and lists:
            projector = _mergers(modules, names, encoder, lists, modules[decoder], certain=owner is not None)
        lists = [found for found in lists if not below(found[1][0], projector)]
        blocks, unused = _used_blocks(tower, encoder, lists, getattr(model.config, "vision_feature_layer", None))
    parts = ModelParts(decoder, encoder, head, tuple(projector), blocks, unused)
    parts = replace(parts, other=tuple(_rest(model, "", parts)))
    return replace(parts, experts=_experts(model, parts))


def _output_layer(decoder: Any) -> Any:
    return decoder.get_output_embeddings() if hasattr(decoder, "get_output_embeddings") else None


def _encoder(model: Any, modules: dict[str, Any], names: dict[int, str], decoder: str, owner: str | None) -> str | None:
    """The image tower: what ``get_encoder`` gives, else the first model that takes pixels.

    What ``get_encoder`` gives is no tower if it holds the decoder or a projector too (encoders of T5Gemma 2).
    """
    given = names.get(id(model.get_encoder(modality="image")))
    if given and not below(decoder, [given]) and not hasattr(modules[given], "get_image_features"):
        return given
    way = (
        [] if owner is None else [names[id(found)] for found in _mentioned(modules[owner], "get_image_features", set())]
    )
    for name in (*way, *modules):
        if (
            name
            and not below(decoder, [name])
            and (_takes_pixels(modules[name]) or (name in way and _is_model(modules[name])))
        ):
            return name
    return None


def _takes_pixels(module: Any) -> bool:
    return _is_model(module) and module.main_input_name in ("pixel_values", "flattened_patches")


def _is_model(module: Any) -> bool:
    from transformers import PreTrainedModel

    return isinstance(module, PreTrainedModel)


def _codes(modules: dict[str, Any], names: dict[int, str], owner: str | None, decoder: str) -> tuple[str, ...]:
    """Modules that turn an image into the nearest codes of a table, which no gradient passes (Chameleon)."""
    if owner is None:
        return ()
    mentioned = dict.fromkeys(names[id(found)] for found in _mentioned(modules[owner], "get_image_features", set()))
    found = [name for name in mentioned if not below(decoder, [name]) and _discrete(modules[name])]
    return tuple(name for name in found if not below(name, [other for other in found if other != name]))


def _discrete(tower: Any) -> bool:
    classes = {type(module) for module in tower.modules() if not type(module).__module__.startswith("torch.")}
    return any(re.search(r"\bargm(in|ax)\(", _source(getattr(kind, "forward", None))) for kind in classes)


def _between(
    modules: dict[str, Any], names: dict[int, str], owner: str | None, encoder: str | None, decoder: str,
    head: str | None,
) -> list[str]:  # fmt: skip
    """Modules on the way of an image that lie outside the tower, in the order of their mention.

    Where ``get_image_features`` mentions the tower alone (Llama 4) or does not exist, ``forward`` of the
    modules around the tower is read instead.
    """
    ways = [] if owner is None else [(owner, "get_image_features")]
    around = [name for name in modules if encoder is not None and name != encoder and below(encoder, [name])]
    ways += [(name, "forward") for name in around]
    embeddings = _embeddings(modules[decoder])
    nested = encoder is not None and below(encoder, [decoder])
    for module, method in ways:
        mentioned = list(dict.fromkeys(names[id(found)] for found in _mentioned(modules[module], method, set())))
        between = _before_layers(modules, mentioned, encoder) if nested and encoder else []
        found: list[str] = []
        for name in mentioned:
            inside_decoder = below(name, [decoder]) and name not in between
            holds_a_part = any(part is not None and below(part, [name]) for part in (encoder, decoder))
            if (
                inside_decoder or holds_a_part or below(name, [encoder, head, *found]) or not _weighty(modules[name])
                or _takes_pixels(modules[name]) or _hears(modules[name]) or _holds(modules[name], embeddings)
            ):  # fmt: skip
                continue
            found.append(name)
        if found:
            return found
    return []


def _before_layers(modules: dict[str, Any], mentioned: list[str], encoder: str) -> list[str]:
    """Of what the decoder around a tower mentions, the modules between that tower and its largest module."""
    from torch import nn

    inside = [name for name in mentioned if name != encoder and not below(encoder, [name])]
    layers = max(inside, key=lambda name: _size(modules[name]), default=None)
    before = inside[: inside.index(layers)] if layers is not None else []
    return [name for name in before if _linears(modules[name]) and not isinstance(modules[name], nn.ModuleList)]


def _embeddings(decoder: Any) -> Any:
    try:
        return decoder.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None


def _size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _weighty(module: Any) -> bool:
    return next(module.parameters(), None) is not None


def _hears(module: Any) -> bool:
    modalities = getattr(module, "input_modalities", ())
    return "audio" in modalities and "image" not in modalities


def _holds(module: Any, inner: Any) -> bool:
    return inner is not None and any(found is inner for found in module.modules())


def _mentioned(module: Any, method: str, seen: set[tuple[int, str]]) -> Iterator[Any]:
    """Modules that a method names through ``self``, also through other methods, in the order of the source.

    Methods about audio are not followed.
    """
    from torch import nn

    function = getattr(type(module), method, None)
    if function is None or (id(module), method) in seen or "audio" in method:
        return
    seen.add((id(module), method))
    source = _source(function)
    for chain in _chains(ast.parse(source)) if source else ():
        reached = module
        for attribute in chain:
            value = getattr(reached, attribute, None)
            if isinstance(value, nn.Module):
                reached = value
                continue
            if inspect.ismethod(value) and not hasattr(nn.Module, attribute):
                yield from _mentioned(reached, attribute, seen)
            break
        if reached is not module:
            yield reached


def _chains(node: ast.AST) -> Iterator[list[str]]:
    """Attributes after ``self``: ``self.model.norm`` → [model, norm]."""
    if isinstance(node, ast.Attribute):
        chain, inner = [], node
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value  # type: ignore[assignment]
        if isinstance(inner, ast.Name):
            if inner.id == "self":
                yield chain[::-1]
            return
    for child in ast.iter_child_nodes(node):
        yield from _chains(child)


@cache
def _source(function: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    except (OSError, TypeError):
        return ""


def _mergers(
    modules: dict[str, Any], names: dict[int, str], encoder: str, lists: list[tuple[str, list[str]]], decoder: Any, *,
    certain: bool,
) -> list[str]:  # fmt: skip
    """Projectors inside the tower (Qwen, GLM): what it calls after its blocks that gives the decoder's width.

    Args:
        lists: the tower's lists of modules, each with its name and theirs; the first that it calls holds the blocks.
        certain: whether something there must lead to the decoder; else it must also leave the blocks' width,
            as poolers do not, and decoders with cross-attention need no projector.
    """
    mentioned = [names[id(found)] for found in _mentioned(modules[encoder], "forward", set())]
    children = list(dict.fromkeys(f"{encoder}.{name[len(encoder) + 1 :].split('.')[0]}" for name in mentioned))
    calls = [(place, found) for place, child in enumerate(children) for found in lists if below(found[0], [child])]
    first, (_, blocks) = min(calls, default=(len(children), lists[0]), key=lambda call: call[0])
    widths = {child: linears[-1][1] for child in children[first + 1 :] if (linears := _linears(modules[child]))}
    width = _embeddings(decoder).weight.shape[1]
    own = _linears(modules[blocks[-1]])[0][0]
    fitting = [child for child, out in widths.items() if out == width and (certain or out != own)]
    if certain and not fitting:
        fitting = [child for child, out in widths.items() if out != own] or list(widths)
    return [name for child in fitting for name in _callable(child, modules[child])]


def _linears(module: Any) -> list[tuple[int, int]]:
    """(input width, output width) of the matrix products in a module, in the order of definition."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    return [
        (inner.in_features, inner.out_features) if isinstance(inner, nn.Linear) else
        (inner.in_channels, inner.out_channels)
        for inner in module.modules() if isinstance(inner, (nn.Linear, _ConvNd))
    ]  # fmt: skip


def _callable(name: str, module: Any) -> list[str]:
    """The module, or the members of a module list: PEFT can only copy modules that have a forward."""
    from torch import nn

    if not isinstance(module, nn.ModuleList):
        return [name]
    return [inner for number, child in enumerate(module) for inner in _callable(f"{name}.{number}", child)]


def _used_blocks(
    encoder: Any, prefix: str, lists: list[tuple[str, list[str]]], feeding: int | Sequence[int] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tower's blocks that are used, and the later modules that are not.

    Args:
        feeding: the configuration's ``vision_feature_layer``, the hidden state that the projector
            reads; 0 is the input of the first block. LLaVA's -2 leaves the last block and the norm
            behind it unused.
    """
    blocks = tuple(block for _, found in lists for block in found)
    if len(lists) != 1:
        return blocks, ()
    chosen = [feeding] if isinstance(feeding, int) else list(feeding or [-1])
    used = max(layer if layer >= 0 else len(blocks) + 1 + layer for layer in chosen)
    if used >= len(blocks):
        return blocks, ()
    direct = lists[0][0][len(prefix) + 1 :].split(".")[0]
    children = list(encoder.named_children())
    behind = children[[child for child, _ in children].index(direct) + 1 :]
    norms = tuple(f"{prefix}.{child}" for child, module in behind if _weighty(module))
    return blocks[:used], blocks[used:] + norms


def _lists(module: Any, name: str) -> list[tuple[str, list[str]]]:
    """The outermost lists of composite modules, each with its blocks.

    Stages of a hierarchical tower (timm, Florence-2) are opened: their blocks are listed.
    """
    found: list[tuple[str, list[str]]] = []
    for child_name, child in module.named_children():
        full = f"{name}.{child_name}"
        if _is_list(child):
            members = child.named_children()
            found.append((full, [block for place, member in members for block in _opened(member, f"{full}.{place}")]))
        else:
            found += _lists(child, full)
    return found


def _is_list(module: Any) -> bool:
    """Whether a module is a list of composite modules, not a plain sequence of layers."""
    from torch import nn

    members = [child for child in module.children() if _weighty(child)]
    composite = all(any(True for _ in member.children()) for member in members)
    return bool(members) and isinstance(module, (nn.ModuleList, nn.Sequential)) and composite


def _opened(stage: Any, name: str) -> list[str]:
    """A block, or the blocks of a stage: a list itself, or a module that holds most of its weights in a list."""
    if _is_list(stage):
        members = [(f"{name}.{place}", child) for place, child in stage.named_children() if _weighty(child)]
        return [block for full, child in members for block in _opened(child, full)]
    for child_name, child in stage.named_children():
        if _is_list(child) and _size(child) > _size(stage) / 2:
            return _opened(child, f"{name}.{child_name}")
    return [name]


def _rest(module: Any, prefix: str, parts: ModelParts) -> Iterator[str]:
    """Largest modules with parameters that neither belong to a part nor hold one."""
    named = [name for name in (parts.decoder, parts.encoder, parts.head, *parts.projector, *parts.other) if name]
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        if below(full, named):
            continue
        if any(below(part, [full]) for part in named):
            yield from _rest(child, f"{full}.", parts)
        elif _weighty(child):
            yield full


def _experts(model: Any, parts: ModelParts) -> tuple[str, ...]:
    """Three-dimensional parameters of the decoder, two or more in a module: matrices of all experts of a layer.

    Parameters that are quantised already are known by their parametrisation.
    """
    found: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters():
        module, _, short = name.rpartition(".")
        if module.rpartition(".")[0].endswith(".parametrizations"):
            module, _, short = module.replace(".parametrizations.", ".").rpartition(".")
        elif parameter.ndim != 3 or min(parameter.shape) < 2:
            continue
        if parts.part_of(module) == "decoder":
            found.setdefault(module, []).append(f"{module}.{short}")
    return tuple(name for names in found.values() if len(names) > 1 for name in names)
