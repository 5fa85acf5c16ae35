"""The engines: what each refuses to load, and the command that starts it for a model.

Options are those of vLLM 0.32 (docs.vllm.ai, "vllm serve"), LMDeploy (``lmdeploy/cli/serve.py`` at 00596da999) and
transformers 5.23. Every one listens on all addresses, or lets every web page ask it, unless it is told otherwise; here
it is told.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from finetune.report.serving import SERVERS, lora_options, refusals, vllm_options
from serving.model import Servable
from winnow.errors import UserError
from winnow.vlm.inputs import cap_before, read_input_settings
from winnow.vlm.models import load_processor

Engine = Literal["vllm", "lmdeploy", "transformers"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
# The longest conversation that is served unless asked for: room for it is taken from the GPU's memory.
_USUAL_LENGTH = 8192
# With huggingface_hub 1, as `make export-env` installs it, its list of models fails where nothing came from a hub yet.
_TRANSFORMERS = (
    "import os, sys; from huggingface_hub.constants import HF_HUB_CACHE; os.makedirs(HF_HUB_CACHE, exist_ok=True); "
    "from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"
)


@dataclass(frozen=True)
class Launch:
    """A command that starts an engine.

    Attributes:
        url: the address that clients use, with its version.
        health: the address that answers with status 200 once the model is loaded.
        model: the name that clients ask for.
        notes: what the engine cannot be told, as sentences.
    """

    command: list[str]
    url: str
    health: str
    model: str
    notes: list[str]

    def __str__(self) -> str:
        return shlex.join(self.command)


@dataclass(frozen=True)
class Options:
    """What a launch is asked for.

    Attributes:
        python: interpreter of the environment that holds the engine; None: this one, or the engine on the PATH.
        max_length: tokens of a conversation; None: see ``length_of``.
        own: options of the engine itself, as they stand.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    python: Path | None = None
    max_length: int | None = None
    own: tuple[str, ...] = ()


def check_loadable(engine: Engine, model: Servable) -> None:
    """Refuse what the engine cannot load, by its own list, before it is started.

    Raises:
        UserError: the model's form, architecture, or adapter is not for this engine.
    """
    if model.is_openvino:
        raise UserError(
            f"{model.checkpoint}: is in OpenVINO's form, which {engine} does not load; load it by optimum-intel, or "
            "export the run in another form: `finetune export RUN --to gptq`"
        )
    if model.record is not None and not model.record.engines[engine].accepts:
        raise UserError(f"{model.name}: {engine} does not take this export: {model.record.engines[engine].why}")
    if engine in ("vllm", "lmdeploy"):
        listed = json.loads(SERVERS.read_text(encoding="utf-8"))[engine]
        if not set(model.architectures) & set(listed["architectures"]):
            raise UserError(
                f"{model.checkpoint}: {engine} has no {', '.join(model.architectures) or 'such architecture'} in its "
                f"list ({listed['source']}, {listed['date']}); try --engine transformers"
            )
    if engine == "transformers":
        _check_transformers(model)
    if model.adapter is not None:
        _check_adapter(engine, model, model.adapter)


def _check_transformers(model: Servable) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    kind = model.config.get("model_type")
    if kind not in KNOWN:
        raise UserError(f"{model.checkpoint}: transformers lists no model with images and text of type {kind}")


def _check_adapter(engine: Engine, model: Servable, adapter: Path) -> None:
    merge = f"serve a merged model: `finetune merge {model.run or 'RUN'} --out DIR`"
    if engine != "vllm":
        raise UserError(f"{adapter}: {engine} loads no adapter of a model with images; {merge}")
    if reasons := refusals(adapter / "adapter_config.json"):
        raise UserError(f"{adapter}: vLLM does not load it as LoRA: {' and '.join(reasons)}; {merge}")
    if model.recipe is not None and model.recipe.quantization != "none" and model.checkpoint.name != "base":
        raise UserError(
            f"{adapter}: was trained on a base in {model.recipe.quantization}, and vLLM would add it to the original "
            f"weights, which is another function; {merge}, or split it: `finetune merge RUN --lora-only --out DIR`"
        )


def length_of(model: Servable, asked: int | None) -> int | None:
    """Tokens of a conversation to make room for; None leaves it to the engine.

    By default what the model was made for, but no more than 8,192 and no less than it was trained with.

    Raises:
        UserError: more is asked for than the model was made for.
    """
    if asked is not None:
        if model.longest is not None and asked > model.longest:
            raise UserError(f"--max-length {asked}: the model was made for {model.longest:,} tokens")
        return asked
    if model.longest is None:
        return None
    trained = model.recipe.max_length if model.recipe is not None else 0
    return min(model.longest, max(_USUAL_LENGTH, trained or 0))


def launch(engine: Engine, model: Servable, options: Options) -> Launch:
    """The command that serves ``model``.

    Raises:
        UserError: see ``check_loadable`` and ``length_of``; or one of the engine's own options is set here.
    """
    check_loadable(engine, model)
    commands = {"vllm": _vllm, "lmdeploy": _lmdeploy, "transformers": _transformers}
    command, name, notes = commands[engine](model, options, length_of(model, options.max_length))
    command += _own(options.own, command)
    shown = f"[{options.host}]" if ":" in options.host else options.host
    origin = f"http://{'127.0.0.1' if options.host == '0.0.0.0' else shown}:{options.port}"
    settings = read_input_settings(model.inputs)
    if (cap := cap_before(load_processor(str(model.inputs)), settings)) is not None:
        notes.append(f"clients have to send images of at most {cap:,} pixels: the engine cannot scale them so")
    return Launch(command, f"{origin}/v1", f"{origin}/health", name, notes)


def _own(given: tuple[str, ...], command: Sequence[str]) -> tuple[str, ...]:
    """The engine's own options, unless they would undo what makes it serve what was trained, or for whom."""
    if given and not given[0].startswith("-"):
        raise UserError(f"{given[0]}: give one MODEL, and options of the engine behind `--`, e.g. -- --enforce-eager")
    for option in given:
        name = option.partition("=")[0]
        if name.startswith("-") and name in command:
            raise UserError(f"{name}: `serve start` sets it itself; its own options are listed by `serve start --help`")
    return given


Command = tuple[list[str], str, list[str]]


def _vllm(model: Servable, options: Options, length: int | None) -> Command:
    start = (
        ["vllm", "serve", str(model.checkpoint)] if options.python is None
        else [str(options.python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model.checkpoint)]
    )  # fmt: skip
    base_name = f"{model.name}-base" if model.adapter else model.name
    command = [*start, "--host", options.host, "--port", str(options.port), "--served-model-name", base_name]
    if length is not None:
        command += ["--max-model-len", str(length)]
    template = model.inputs / "chat_template.jinja"
    if template.is_file():
        command += ["--chat-template", str(template)]
    for name, value in _prepared_as_trained(model).items():
        command += [f"--{name}", json.dumps(value)]
    if model.quantization:
        command += ["--quantization", model.quantization]
    if model.adapter is not None:
        rank = json.loads((model.adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"]
        tower = model.recipe is not None and "lora" in model.recipe.vision_modes()
        command += shlex.split(lora_options(shlex.quote(f"{model.name}={model.adapter}"), rank, tower=tower))
    return command, model.name, []


def _lmdeploy(model: Servable, options: Options, length: int | None) -> Command:
    start = ["lmdeploy"] if options.python is None else [str(options.python), "-m", "lmdeploy"]
    command = [
        *start, "serve", "api_server", str(model.checkpoint), "--server-name", options.host, "--server-port",
        str(options.port), "--allow-origins", f"http://{options.host}:{options.port}", "--model-name", model.name,
    ]  # fmt: skip
    if length is not None:
        command += ["--session-len", str(length)]
    if model.quantization:
        command += ["--model-format", model.quantization]
    notes = ["LMDeploy needs a GPU; this command was written by its rules and never run"]
    if variables := dict(read_input_settings(model.inputs).chat_template_kwargs):
        notes.append(f"in every request clients have to send {json.dumps({'chat_template_kwargs': variables})}")
    return command, model.name, notes


def _transformers(model: Servable, options: Options, length: int | None) -> Command:
    command = [
        str(options.python or sys.executable), "-c", _TRANSFORMERS, "serve", str(model.checkpoint), "--host",
        options.host, "--port", str(options.port),
    ]  # fmt: skip
    if variables := dict(read_input_settings(model.inputs).chat_template_kwargs):
        command += ["--chat-template-kwargs", json.dumps(variables)]
    notes = ["`transformers serve` answers one question after the other; for many users take vLLM or LMDeploy"]
    if options.max_length is not None:
        notes.append("`transformers serve` has no limit of the length; --max-length has no effect")
    return command, str(model.checkpoint), notes


def _prepared_as_trained(model: Servable) -> dict[str, dict[str, Any]]:
    """Options of vLLM for inputs as in training; a base that is no longer there leaves them to the folder's files."""
    settings = read_input_settings(model.inputs)
    variables = dict(settings.chat_template_kwargs)
    without_base = {"default-chat-template-kwargs": variables} if variables else {}
    if model.recipe is None:
        return without_base
    try:
        return vllm_options(model.recipe.model, load_processor(str(model.inputs)), settings)
    except UserError:
        if model.adapter is not None:
            raise
        return without_base


def check_installed(engine: Engine, options: Options, command: Sequence[str]) -> None:
    """Refuse to start an engine that is not there, with a sentence on how to get it.

    Raises:
        UserError: its program, or a package that it needs, is missing; or LMDeploy would find no GPU.
    """
    if engine == "lmdeploy":
        import torch

        if not torch.accelerator.is_available():
            raise UserError("lmdeploy: has no engine for CPUs, and this machine has no GPU; try --engine transformers")
    if shutil.which(command[0]) is None:
        how = {
            "vllm": "pip install vllm, in an environment of its own, and name its interpreter with --python",
            "lmdeploy": "pip install lmdeploy, in an environment of its own, and name its interpreter with --python",
            "transformers": "name an interpreter with --python",
        }
        raise UserError(f"{command[0]}: not found; {how[engine]}")
    if engine == "transformers" and options.python is None:
        for package in ("fastapi", "uvicorn"):
            if importlib.util.find_spec(package) is None:
                raise UserError(f"`transformers serve` needs {package}: pip install 'winnow-vlm[serve]'")
