"""Which engines take an exported model: those that were run here, and for the others their published rules.

Of these rules only LMDeploy's were looked up, in November 2026: ``docs/en/quantization/llm_compressor.md``. Those of
vLLM are what its page "LLM Compressor" and Marlin's ``marlin_utils.py`` are known to say, and were not looked up again.
Architectures: ``finetune/servers.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from finetune.export.layers import Layers
from finetune.export.record import Engine, EngineName
from finetune.export.worker.job import Method
from finetune.report.serving import SERVERS

_FOUR_BITS: tuple[Method, ...] = ("gptq", "rtn", "awq")
_MARLIN_INPUTS = 128


def engines(
    method: Method, architectures: Sequence[str], layers: Layers | None, group_size: int | None, versions: str
) -> dict[EngineName, Engine]:
    """What each engine does with the model.

    Args:
        architectures: of the configuration.
        layers: of the model; None: nothing is quantised.
        versions: name and version of the library that loaded the model and answered here.
    """
    in_openvino = method.startswith("openvino")
    asked = f"{versions} loaded it in a new process and answered the evaluation"
    found: dict[EngineName, Engine] = {
        "openvino": Engine(accepts=in_openvino, basis="run" if in_openvino else "rules",
                           why=asked if in_openvino else "reads its own form only: export with --to openvino-int8"),
        "transformers": Engine(accepts=not in_openvino, basis="rules" if in_openvino else "run",
                               why="does not read OpenVINO's form" if in_openvino else asked),
    }  # fmt: skip
    lists = json.loads(SERVERS.read_text(encoding="utf-8"))
    rules = {"vllm": _vllm(method, layers, group_size), "lmdeploy": _lmdeploy(method)}
    for server, (accepts, why) in rules.items():
        listed = lists[server]
        if accepts and not set(architectures) & set(listed["architectures"]):
            accepts, why = False, f"its list of {listed['date']} has no {', '.join(architectures)}"
        found[server] = Engine(accepts=accepts, basis="rules", why=why)  # type: ignore[index]  # both are engines
    return found


def _vllm(method: Method, layers: Layers | None, group_size: int | None) -> tuple[bool, str]:
    if method.startswith("openvino"):
        return False, "does not read OpenVINO's form"
    if method == "merged":
        return True, "takes 16-bit weights"
    if method == "fp8":
        return True, "takes FP8 of compressed-tensors; computes in it from compute capability 8.9, below in 16 bits"
    if method == "int8":
        return True, "takes INT8 W8A8 of compressed-tensors on CPUs and from compute capability 7.5 on"
    odd = layers is not None and any(width % _MARLIN_INPUTS for width in layers.widths)
    kernel = ("a layer's inputs are no multiple of 128, so Marlin does not take it and a slower kernel is used" if odd
              else "all layers fit its Marlin kernel")  # fmt: skip
    return True, f"takes W4A16 of compressed-tensors with groups of {group_size}; {kernel}"


def _lmdeploy(method: Method) -> tuple[bool, str]:
    if method.startswith("openvino"):
        return False, "does not read OpenVINO's form"
    if method == "merged":
        return True, "takes 16-bit weights; it has no CPU device"
    if method in _FOUR_BITS:
        return True, (
            "TurboMind takes 4-bit weights of llm-compressor in groups of 32 and 128 from compute capability 7.0 on; "
            "its page names language models, and a vision-language one was not tried; it has no CPU device"
        )
    return False, "its page on llm-compressor names 4-bit weights only; export with --to gptq"
