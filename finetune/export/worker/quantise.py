"""Quantises a checkpoint in the export's own environment: ``python -m finetune.export.worker.quantise JOB DONE``."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.export.worker.job import QuantiseDone, QuantiseJob

_PACKAGES = ("llmcompressor", "compressed-tensors", "optimum-intel", "openvino", "nncf", "torch", "transformers")


def compress(job: QuantiseJob) -> tuple[int, bool | None, bool | None]:
    """Write a compressed-tensors checkpoint by llm-compressor; gives modules, symmetry and act order."""
    from llmcompressor import oneshot
    from torch.utils.data import DataLoader
    from transformers import AutoModelForImageTextToText

    model: Any = AutoModelForImageTextToText.from_pretrained(
        job.model, dtype="auto", device_map={"": job.device}, trust_remote_code=False, use_safetensors=True
    )
    if model.device.type == "cpu":
        _leave_memory_unpinned()
    rows: Any = list(calibration_rows(job.calibration)) if job.calibration else []
    data: Any = DataLoader(rows, batch_size=None, shuffle=False) if rows else None
    oneshot(
        model=model, recipe=modifiers(job, model), dataset=data, num_calibration_samples=len(rows) or 1,
        shuffle_calibration_samples=False, pipeline="sequential" if rows else "datafree",
    )  # fmt: skip
    model.save_pretrained(job.out, save_compressed=True)
    _keep_patterns(job.out / "config.json", job.ignored)
    quantised = sum(getattr(module, "quantization_scheme", None) is not None for module in model.modules())
    if job.method == "fp8":
        return quantised, True, None
    return quantised, True, True if job.method == "gptq" else None


def modifiers(job: QuantiseJob, model: Any) -> list[Any]:
    """llm-compressor's recipe: symmetric weights, and the decoder's linear layers alone."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    if job.method in ("fp8", "int8"):
        scheme = "FP8_DYNAMIC" if job.method == "fp8" else "W8A8"
        return [QuantizationModifier(targets="Linear", scheme=scheme, ignore=job.ignored)]
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": job.group_size}
    groups: Any = {"group_0": {"targets": ["Linear"], "weights": weights}}
    if job.method == "gptq":
        return [GPTQModifier(config_groups=groups, ignore=job.ignored, actorder="static")]
    rounded = QuantizationModifier(config_groups=groups, ignore=job.ignored)
    if job.method == "rtn":
        return [rounded]
    return [AWQModifier(mappings=awq_mappings(type(model).__name__, job.decoder or "")), rounded]


def awq_mappings(architecture: str, decoder: str) -> list[Any]:
    """llm-compressor's own mappings, kept to the decoder: a tower with ``q_proj`` would be taken for it otherwise."""
    from llmcompressor.modifiers.transform.awq import AWQMapping
    from llmcompressor.modifiers.transform.awq.mappings import AWQ_MAPPING_REGISTRY, default_mappings

    def inside(pattern: str) -> str:
        return f"re:{decoder}{pattern.removeprefix('re:')}"

    found = AWQ_MAPPING_REGISTRY.get(architecture, default_mappings)
    return [
        AWQMapping(inside(each.smooth_layer), [inside(layer) for layer in each.balance_layers],
                   each.activation_hook_target)
        for each in found
    ]  # fmt: skip


def calibration_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The model's inputs for each row, in the order of the files."""
    from safetensors.torch import load_file

    for path in sorted(folder.glob("*.safetensors")):
        yield load_file(path)


def _leave_memory_unpinned() -> None:
    """AWQ pins its cache for copies to a GPU, which fails where there is none."""
    from llmcompressor.pipelines.cache import IntermediatesCache

    IntermediatesCache.pin_memory = lambda *_, **__: None


def _keep_patterns(config: Path, ignored: list[str]) -> None:
    """Put the patterns back that llm-compressor replaced by the names of layers.

    A library that gives the layers other names than this one's transformers would quantise them while it loads.
    """
    values = json.loads(config.read_text(encoding="utf-8"))
    values["quantization_config"]["ignore"] = ignored
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def to_openvino(job: QuantiseJob) -> tuple[int, bool | None, bool | None]:
    """Write OpenVINO's form by optimum-intel, the language model in 4 or 8 bits and the rest in 16."""
    from optimum.intel import OVModelForVisualCausalLM, OVPipelineQuantizationConfig, OVWeightQuantizationConfig

    if job.method == "openvino-int4":
        weights = OVWeightQuantizationConfig(bits=4, sym=False, group_size=job.group_size, ratio=1.0)
    else:
        weights = OVWeightQuantizationConfig(bits=8, sym=True)
    model = OVModelForVisualCausalLM.from_pretrained(
        job.model, export=True, compile=False, trust_remote_code=False,
        quantization_config=OVPipelineQuantizationConfig({"lm_model": weights}),
    )  # fmt: skip
    model.save_pretrained(job.out)
    graph = model.lm_model if hasattr(model, "lm_model") else model.language_model.model
    packed = {"i4", "u4"} if job.method == "openvino-int4" else {"i8", "u8"}
    quantised = sum(
        operation.get_type_name() == "Constant" and operation.get_element_type().get_type_name() in packed
        for operation in graph.get_ops()
    )
    return quantised, job.method == "openvino-int8", None


def packages() -> dict[str, str]:
    """Versions of what quantises here."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Do a job and say what was done."""
    job = QuantiseJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    started = time.monotonic()
    quantised, symmetric, act_order = (to_openvino if job.method.startswith("openvino") else compress)(job)
    done = QuantiseDone(
        quantised=quantised, seconds=time.monotonic() - started, symmetric=symmetric, act_order=act_order,
        packages=packages(),
    )  # fmt: skip
    Path(sys.argv[2]).write_text(done.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
