"""Load exports with the loaders of LLaMA-Factory, ms-swift and EvalScope; prints what they make of them as JSON.

Run by ``test_peers.py`` in an environment of its own: ``python peers.py EXPORTS``.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets


def llama_factory(folder: Path) -> dict[str, list]:
    """Dataset → rows as its converter makes them."""
    from llamafactory.data.converter import get_dataset_converter
    from llamafactory.data.parser import get_dataset_list

    found = {}
    for one in get_dataset_list(list(json.loads((folder / "dataset_info.json").read_text())), str(folder)):
        rows = datasets.load_dataset("json", data_files=str(folder / one.dataset_name), split="train")
        convert = get_dataset_converter(one.formatting, one, SimpleNamespace(media_dir=str(folder)))
        found[one.dataset_name] = [{"id": row["id"], **convert(row)} for row in rows]
    return found


def ms_swift(folder: Path) -> dict[str, list]:
    """File → rows as training gets them."""
    from swift.dataset import load_dataset

    files = [path for path in sorted(folder.glob("*.jsonl")) if path.name != "rejects.jsonl"]
    return {path.name: list(load_dataset([str(path)], load_from_cache_file=False)[0]) for path in files}


def evalscope(folder: Path) -> dict[str, list]:
    """Benchmark → samples: text, media and target of each."""
    from evalscope.api.registry import get_benchmark
    from evalscope.config import TaskConfig

    found = {}
    for name, kind in (("general_vqa", "vqa"), ("general_vmcq", "mcq")):
        arguments = {name: {"local_path": str(folder / kind), "subset_list": ["train"]}}
        config = TaskConfig(model="none", datasets=[name], dataset_args=arguments)
        samples = get_benchmark(name, config).load_dataset()["train"]
        found[name] = [json.loads(sample.model_dump_json()) for sample in samples]
    return found


if __name__ == "__main__":
    made = {
        which.__name__: which(Path(sys.argv[1]) / which.__name__.replace("_", "-"))
        for which in (llama_factory, ms_swift, evalscope)
    }
    Path(sys.argv[2]).write_text(json.dumps(made, default=str))
