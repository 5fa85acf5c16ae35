"""Let the benchmarks' own code, lmms-eval and VLMEvalKit judge a few replies that our tasks are tested against.

    python tests/evalsuite/peers/make_benchmark_fixtures.py PEERS

``PEERS`` holds checkouts, whose revisions are in ``REVISIONS``, in folders of these names. Only the functions named
below run, none of the models behind them. Writes ``benchmarks.json`` beside this file: prompts and verdicts, none of
their code.
"""

from __future__ import annotations

import ast
import json
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmark_rows import docs_of, replies_of
from borrow import borrowed

HERE = Path(__file__).parent
REVISIONS = {
    "lmms-eval": "EvolvingLMMs-Lab/lmms-eval 75571cf",
    "VLMEvalKit": "open-compass/VLMEvalKit e8e78f0",
    "MMMU": "MMMU-Benchmark/MMMU bb0b95a",
    "BLINK": "zeyofu/BLINK_Benchmark 2d6a779",
    "HallusionBench": "tianyi-lab/HallusionBench 744007c",
}
PEERS = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
LETTERS = "\nAnswer with the option's letter from the given choices directly."
Judge = Callable[[], dict[str, Any]]


def lmms(path: str, *names: str, **given: Any) -> dict[str, Any]:
    return borrowed(PEERS / "lmms-eval/lmms_eval" / path, *names, **given)


def rated(task: str, prompt: str, scores: list[float], **totals: float) -> dict[str, Any]:
    """What is written of a task: the prompt of its first row, the score of each reply, and totals by column."""
    if len(scores) != len(replies_of(task)):
        raise ValueError(f"{task}: {len(scores)} scores")
    return {"prompt": prompt, "scores": [float(score) for score in scores], "totals": totals}


def mean(scores: list[float]) -> float:
    return float(np.mean(scores))


def mcq() -> Callable[..., str]:
    names = ("extract_mcq_answer", "_DEFAULT_CHOICES", "_ANSWER_PHRASES", "_FORMAT_PRIORITY")

    return lmms("tasks/_task_utils/mcq_extract.py", *names, List=list)["extract_mcq_answer"]


def with_module(name: str, **members: Any) -> None:
    """Let a function's own import of one of the peer's modules find these."""
    import types

    for depth in range(1, name.count(".") + 2):
        part = ".".join(name.split(".")[:depth])
        sys.modules.setdefault(part, types.ModuleType(part))
    vars(sys.modules[name]).update(members)


def report_acc(hits: list[float], **columns: list[str]) -> dict[str, float]:
    """VLMEvalKit's accuracies."""
    import pandas as pd

    found = borrowed(PEERS / "VLMEvalKit/vlmeval/dataset/utils/multiple_choice.py", "report_acc", "MMB_abbrs", pd=pd)[
        "report_acc"
    ](pd.DataFrame({"hit": hits, **{name.replace("_", "-"): held for name, held in columns.items()}}))
    return {name: float(found[name][0]) for name in found if name != "split"}


def ai2d() -> dict[str, Any]:
    path = "tasks/ai2d/utils.py"
    names = ("ai2d_doc_to_text", "ai2d_doc_to_target", "MultiChoiceRegexFilter")
    code = lmms(path, *names, ExtendedRegexFilter=object)
    same = lmms("api/metrics.py", "exact_match_hf_evaluate")["exact_match_hf_evaluate"]
    docs = docs_of("ai2d")
    read = code["MultiChoiceRegexFilter"]().apply([[reply] for reply in replies_of("ai2d")], docs)
    targets = [code["ai2d_doc_to_target"](doc, "mcq") for doc in docs]
    scores = [same(predictions=[a], references=[b], ignore_case=True, ignore_punctuation=True)["exact_match"]
              for a, b in zip(read, targets, strict=True)]  # fmt: skip
    settings = {"prompt_format": "mcq", "pre_prompt": "", "post_prompt": LETTERS}
    return rated("ai2d", code["ai2d_doc_to_text"](docs[0], settings), scores, multiple_choice=mean(scores))


def mmstar() -> dict[str, Any]:
    with_module("lmms_eval.tasks._task_utils.mcq_extract", extract_mcq_answer=mcq())
    names = (
        "mmstar_doc_to_text",
        "mmstar_process_results",
        "mmstar_aggregate_results",
        "exact_match",
        "replace_prompt",
    )
    code = lmms("tasks/mmstar/utils.py", *names)
    docs = docs_of("mmstar")
    found = [code["mmstar_process_results"](doc, [reply])["average"]
             for doc, reply in zip(docs, replies_of("mmstar"), strict=True)]  # fmt: skip
    scores = [entry["score"] for entry in found]
    prompt = code["mmstar_doc_to_text"](docs[0], {"pre_prompt": "", "post_prompt": LETTERS.removesuffix(".")})
    overall = report_acc(scores, category=[doc["category"] for doc in docs])["Overall"]
    return rated("mmstar", prompt, scores, multiple_choice=overall, by_category=code["mmstar_aggregate_results"](found))


def seed_image() -> dict[str, Any]:
    code = lmms("tasks/seedbench/utils.py", "seed_doc_to_text", "seed_process_result", "seed_aggregation_result")
    docs = docs_of("seed_image")
    found = [code["seed_process_result"](doc, [reply])["seed_image"]
             for doc, reply in zip(docs, replies_of("seed_image"), strict=True)]  # fmt: skip
    scores = [code["seed_aggregation_result"]([entry]) for entry in found]
    total = code["seed_aggregation_result"](found)
    overall = report_acc(scores, category=[doc["category"] for doc in docs])["Overall"]
    if total != overall:
        raise ValueError("lmms-eval and VLMEvalKit differ")
    return rated("seed_image", code["seed_doc_to_text"](docs[0]), scores, multiple_choice=total)


def realworldqa() -> dict[str, Any]:
    with_module("lmms_eval.tasks._task_utils.mcq_extract", extract_mcq_answer=mcq())
    names = ("realworldqa_doc_to_text", "realworldqa_process_results", "REPLACE_PROMPT")
    code = lmms("tasks/realworldqa/utils.py", *names)
    docs = docs_of("realworldqa")
    scores = [code["realworldqa_process_results"](doc, [reply])["exact_match"]
              for doc, reply in zip(docs, replies_of("realworldqa"), strict=True)]  # fmt: skip
    return rated("realworldqa", code["realworldqa_doc_to_text"](docs[0], {}), scores, accuracy=mean(scores))


def mmmu_pro(task: str, mode: str, kind: str) -> Judge:
    def judge() -> dict[str, Any]:
        class Drawn:
            """In place of ``random``: a guess is never right."""

            choice = staticmethod(lambda _: "?")

        folder = PEERS / "MMMU/mmmu-pro"
        names = ("mmmu_process_results", "get_multi_choice_info", "parse_multi_choice_response")
        code = borrowed(folder / "evaluate.py", *names, ast=ast, random=Drawn)
        config = yaml.safe_load((folder / "prompts.yaml").read_text())[mode]
        names = ("mmmu_doc_to_text", "construct_prompt", "parse_options", "replace_images_tokens")
        asked = borrowed(folder / "infer/infer_gpt.py", *names, prompt_config=config, ast=ast)
        docs = docs_of(task)
        scores = [float(code["mmmu_process_results"]({**doc, "response": reply})["if_right"])
                  for doc, reply in zip(docs, replies_of(task), strict=True)]  # fmt: skip
        prompt = config["vision"] if kind == "vision" else asked["mmmu_doc_to_text"](docs[0])[0]
        return rated(task, prompt, scores, multiple_choice=mean(scores))

    return judge


def blink() -> dict[str, Any]:
    def no_model(*_: Any) -> str:
        raise ValueError("a reply of the fixture would be given to GPT-3.5")

    analyze = borrowed(PEERS / "BLINK/eval/test_benchmark.py", "analyze_answer", match_multiple_choice=no_model)
    lmms_code = lmms("tasks/blink/utils.py", "blink_process_results", "_extract_answer_letter", Dict=dict, List=list)
    docs = docs_of("blink")
    hits: dict[str, list[float]] = {}
    scores = []
    for doc, reply in zip(docs, replies_of("blink"), strict=True):
        choices = ["(A)", "(B)", "(C)", "(D)", "(E)"][: len(doc["choices"])]
        scores.append(float(analyze["analyze_answer"](doc, reply, choices) == doc["answer"]))
        hits.setdefault(doc["sub_task"], []).append(scores[-1])
        there = lmms_code["blink_process_results"](doc, [reply])["blink_acc"]["is_correct"]
        if len(reply) < 4 and bool(there) != bool(scores[-1]):
            raise ValueError("BLINK and lmms-eval differ")
    # As eval_prediction of eval/evaluate.py, which reads files: the mean over subtasks.
    total = sum(mean(values) for values in hits.values()) / len(hits)
    return rated("blink", docs[0]["prompt"], scores, choice_by_category=total, multiple_choice=mean(scores))


def mmbench() -> dict[str, Any]:
    import collections
    import copy
    import os

    import pandas as pd

    kit = PEERS / "VLMEvalKit/vlmeval"
    names = ("can_infer", "can_infer_option", "can_infer_text", "_VERBOSE_ANSWER_RE")
    infer = borrowed(kit / "utils/matching_util.py", *names, os=os, cp=copy, Counter=collections.Counter)["can_infer"]
    names = ("prefetch_circular_group", "prefetch_answer", "build_choices")
    code = borrowed(kit / "dataset/utils/multiple_choice.py", *names, pd=pd, can_infer=infer)
    urls = dict.fromkeys(("MMMB_URLS", "MTL_MMBench_URLS", "MMMB_MD5", "MTL_MMBench_MD5"), {})
    dataset = borrowed(kit / "dataset/image_mcq.py", "ImageMCQDataset", pd=pd, ImageBaseDataset=object, **urls)
    asker = dataset["ImageMCQDataset"]()
    asker.meta_only, asker.dump_image = False, lambda line: "image"
    docs = [{name: None if value == "" else value for name, value in doc.items()} for doc in docs_of("mmbench")]
    data = pd.DataFrame(docs).assign(prediction=replies_of("mmbench"))
    data["GT"], data["g_index"] = data["answer"], data["index"] % 1_000_000
    # As mcq_circular_eval without a judge: what is not read is wrong.
    found = {index: code["prefetch_circular_group"](group) for index, group in data.groupby("g_index")}
    hits = {index: float(entry["hit"]) if entry else 0.0 for index, entry in found.items()}
    main = data[data["index"] == data["g_index"]]
    columns = {"category": list(main["category"]), "l2_category": list(main["l2-category"])}
    total = report_acc([hits[index] for index in main["index"]], **columns)["Overall"]
    prompt = asker.build_prompt(data.iloc[0])[-1]["value"]
    return rated("mmbench", prompt, [hits[index] for index in data["g_index"]], circular=total)


def hallusion_bench() -> dict[str, Any]:
    words = borrowed(PEERS / "VLMEvalKit/vlmeval/smp/misc.py", "process_punctuation")["process_punctuation"]
    names = ("YOrN_Extraction", "Hallusion_rating")
    kit = borrowed(PEERS / "VLMEvalKit/vlmeval/dataset/utils/yorn.py", *names, process_punctuation=words)
    names = ("assign_correctness", "get_eval_fig", "get_eval_all")
    own = borrowed(PEERS / "HallusionBench/utils.py", *names)
    # That of the authors needs the questions without an image, which are not asked.
    pairs = lmms("tasks/hallusion_bench/utils.py", "get_eval_pair_all")["get_eval_pair_all"]
    docs = docs_of("hallusion_bench")
    read = [kit["YOrN_Extraction"](reply) for reply in replies_of("hallusion_bench")]
    right = [answer == ("No", "Yes")[int(doc["gt_answer"])] for doc, answer in zip(docs, read, strict=True)]
    judged = own["assign_correctness"](
        [{**doc, "check": str(int(hit))} for doc, hit in zip(docs, right, strict=True)], "check"
    )
    shares = [own["get_eval_all"](judged, "check"), own["get_eval_fig"](judged), pairs(judged, "check")]
    totals = dict(zip(("aacc", "facc", "qacc"), (entry["correct"] / entry["total"] for entry in shares), strict=True))
    return rated("hallusion_bench", docs[0]["question"], right, **totals)


def ocrbench() -> dict[str, Any]:
    import pandas as pd

    names = ("ocrbench_doc_to_text", "ocrbench_process_results", "_fold_fullwidth_ascii")
    code = lmms("tasks/ocrbench/utils.py", *names)
    docs, replies = docs_of("ocrbench"), replies_of("ocrbench")
    scores = [code["ocrbench_process_results"](doc, [reply])["ocrbench_accuracy"]["score"]
              for doc, reply in zip(docs, replies, strict=True)]  # fmt: skip
    table = pd.DataFrame([{"category": doc["question_type"], "answer": repr(doc["answer"])} for doc in docs])
    kit = borrowed(
        PEERS / "VLMEvalKit/vlmeval/dataset/image_vqa.py", "OCRBench", ImageBaseDataset=object, tqdm=lambda rows: rows,
        load=lambda _: table.assign(prediction=replies), dump=lambda *_: None, get_intermediate_file_path=lambda *_: "",
    )["OCRBench"]  # fmt: skip
    if kit().evaluate("")["Final Score"] != sum(scores):
        raise ValueError("lmms-eval and VLMEvalKit differ")
    return rated("ocrbench", code["ocrbench_doc_to_text"](docs[0], {}), scores, contains=mean(scores))


def refcoco(task: str) -> Judge:
    def judge() -> dict[str, Any]:
        names = ("refcoco_bbox_rec_doc_to_text", "parse_float_sequence_within", "compute_iou", "compute_accuracy")
        code = lmms("tasks/refcoco/utils_rec.py", *names)
        width, height = 24, 16  # of the fixture's images
        docs = [{**doc, "answer": text} for doc in docs_of(task) for text in doc["answer"]]
        ious, hits = [], []
        for doc, reply in zip(docs, replies_of(task), strict=True):
            x, y, w, h = doc["bbox"]
            truth = [x / width, y / height, (x + w) / width, (y + h) / height]  # refcoco_bbox_rec_preprocess_dataset
            box = code["parse_float_sequence_within"](reply)
            ious.append(code["compute_iou"](truth, box))
            hits.append(float(code["compute_accuracy"](truth, box)))
        return rated(task, code["refcoco_bbox_rec_doc_to_text"](docs[0]), hits, box=mean(hits), box_iou=mean(ious))

    return judge


def captions(task: str, asked: str) -> Judge:
    """Scores of captions by pycocoevalcap, whose tokeniser leaves these captions' words as they are."""

    def judge() -> dict[str, Any]:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        def plain(text: str) -> str:
            return text.lower().translate(str.maketrans("", "", string.punctuation))

        key = "caption_str" if task == "textcaps" else "annotations_captions"
        docs = docs_of(task)
        references = {number: [plain(text) for text in doc[key]] for number, doc in enumerate(docs)}
        found = {number: [plain(reply)] for number, reply in enumerate(replies_of(task))}
        cider, each = Cider().compute_score(references, found)
        bleu, rouge = (
            Bleu(4).compute_score(references, found, verbose=0)[0],
            Rouge().compute_score(references, found)[0],
        )
        totals = {"cider": float(cider), "rouge_l": float(rouge), "bleu_1": float(bleu[0]), "bleu_2": float(bleu[1])}
        prompt = yaml.safe_load((PEERS / "lmms-eval/lmms_eval/tasks" / asked).read_text())
        return rated(task, prompt["lmms_eval_specific_kwargs"]["default"]["prompt"], list(each), **totals)

    return judge


def stvqa() -> dict[str, Any]:
    ask = lmms("tasks/stvqa/utils.py", "stvqa_doc_to_text")["stvqa_doc_to_text"]
    anls = lmms("api/metrics.py", "anls", "levenshtein_distance")["anls"]
    docs = docs_of("stvqa")
    scores = [anls(references=doc["answers"], predictions=[reply])["anls"]
              for doc, reply in zip(docs, replies_of("stvqa"), strict=True)]  # fmt: skip
    settings = {"pre_prompt": "", "post_prompt": "\nAnswer the question using a single word or phrase."}
    return rated("stvqa", ask(docs[0], settings), scores, anls=mean(scores))


JUDGES: dict[str, Judge] = {
    "ai2d": ai2d,
    "mmstar": mmstar,
    "seed_image": seed_image,
    "realworldqa": realworldqa,
    "mmmu_pro_standard": mmmu_pro("mmmu_pro_standard", "direct", "standard"),
    "mmmu_pro_standard_cot": mmmu_pro("mmmu_pro_standard_cot", "cot", "standard"),
    "mmmu_pro_vision": mmmu_pro("mmmu_pro_vision", "direct", "vision"),
    "mmmu_pro_vision_cot": mmmu_pro("mmmu_pro_vision_cot", "cot", "vision"),
    "blink": blink,
    "mmbench": mmbench,
    "hallusion_bench": hallusion_bench,
    "ocrbench": ocrbench,
    **{task: refcoco(task) for task in ("refcoco", "refcoco_plus", "refcocog")},
    "textcaps": captions("textcaps", "textcaps/_default_template_textcaps_yaml"),
    "nocaps": captions("nocaps", "nocaps/_default_template_nocaps_yaml"),
    "stvqa": stvqa,
}


def main() -> None:
    """Write the fixture."""
    found = {"peers": REVISIONS, "tasks": {task: judge() for task, judge in JUDGES.items()}}
    (HERE / "benchmarks.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
