"""Names of a checkpoint's tensors: those that its family publishes, which every server knows.

transformers 5 renames parts of some models while it loads them (CLIP's ``vision_model.`` level is gone) and reads files
under either names. A model that was built anew is saved under the new ones, which vLLM 0.32 refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def save_under_published_names(model: Any) -> None:
    """Have ``model.save_pretrained`` write the published names, as it does for a model that was loaded from them."""
    model._weight_conversions = _conversions(model)


def published_names(model: Any) -> dict[str, str]:
    """Name of each parameter and buffer → its published name; those that are stored in another form are left out.

    Args:
        model: on the meta device.
    """
    return _reversed(model, _conversions(model))


def unpublished(names: Mapping[str, str], model: Any) -> dict[str, str]:
    """Keys of a checkpoint that transformers alone gives to a new model → the published names.

    Args:
        names: key → name of the parameter or buffer of ``model``.
        model: on the meta device.
    """
    from transformers.core_model_loading import PrefixChange

    conversions = _conversions(model)
    published = _reversed(model, conversions)
    own = _reversed(model, [entry for entry in conversions if not isinstance(entry, PrefixChange)])
    return {
        key: published[name]
        for key, name in names.items()
        if name in published and key in (name, own[name]) and key != published[name]
    }


def _reversed(model: Any, conversions: list[Any]) -> dict[str, str]:
    """Name in memory → name in files, of all that is stored in the form that it has in memory."""
    from transformers.core_model_loading import WeightRenaming, apply_renamings

    back = [conversion.reverse_transform() for conversion in reversed(conversions)]
    renamings = [entry for entry in back if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in back if not isinstance(entry, WeightRenaming)]
    return {
        name: apply_renamings(name, renamings)
        for name in model.state_dict()
        if all(converter.rename_source_key(name)[1] is None for converter in converters)
    }


def _conversions(model: Any) -> list[Any]:
    """What transformers does to published names, without its rules for old spellings.

    A prefix of the whole model is left out, as checkpoints are published with it and without; one of a part is not.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import PrefixChange

    found = get_model_conversion_mapping(model, add_legacy=False)
    return [entry for entry in found if not isinstance(entry, PrefixChange) or entry.scope_prefix]
