"""How replies of models are read: Winnow's readers against the benchmarks' own code, on published outputs.

The outputs and the code belong to other projects and are not part of this repository; get them with

    git clone https://github.com/MMMU-Benchmark/MMMU
    git clone https://github.com/EvolvingLMMs-Lab/lmms-eval
    git clone https://github.com/lupantech/MathVista
    git clone https://github.com/ustc-hyin/cd_rethink

and run ``python -m studies.readers --mmmu MMMU --lmms-eval lmms-eval --mathvista MathVista --pope cd_rethink --docs``.
It runs Python files of the first two clones: read them before.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from evalsuite.reading.read import Extraction, read_answer
from evalsuite.reading.refusal import refuses
from evalsuite.reading.yes_no import parse_yes_no

PAGE = Path("docs/results/reading.md")
_LETTER = Extraction(kind="letter", choices=[])
_NUMBER = Extraction(kind="number", choices=[])
_YES_NO = Extraction(kind="yes_no", choices=[])
_MATHVISTA = (  # replies in words whose answers GPT-4 took out; those of programs are left out
    "bard/output_bard", "claude/output_claude", "gpt4/output_gpt4", "chatgpt/output_chatgpt",
    "idefics/output_idefics_9b_instruct", "llama_adapter_v2/output_llama_adapter_v2", "llava/output_llava_llama_2_13b",
    "llavar/output_llavar", "minigpt4/output_minigpt4_llama2", "mplugowl/output_mplugowl_7b_ft",
)  # fmt: skip
Table = list[Sequence[object]]
Parse = Callable[[str, list[str], dict[str, str]], str | None]


@dataclass(frozen=True)
class Choice:
    """A reply to a multiple choice: its options and the right letter."""

    reply: str
    options: list[str]
    answer: str


def main() -> None:
    """Print the tables; with ``--docs`` write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mmmu", "lmms-eval", "mathvista", "pope"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="a clone")
    parser.add_argument("--docs", action="store_true", help=f"write the tables into {PAGE}")
    given = parser.parse_args()
    tables = {
        "mmmu-pro": mmmu_pro(given.mmmu, given.lmms_eval),
        "mmmu": mmmu(given.mmmu, given.lmms_eval),
        "mathvista": mathvista(given.mathvista),
        "pope": pope(given.pope),
    }
    page = PAGE.read_text(encoding="utf-8") if given.docs else ""
    for name, table in tables.items():
        shown = _markdown(table)
        print(f"{name}\n{shown}\n", file=sys.stdout)
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        page = re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{shown}\n{end}", page, flags=re.DOTALL)  # noqa: B023
    if given.docs:
        PAGE.write_text(page, encoding="utf-8")


# ---- multiple choice ---------------------------------------------------------------------------------------


def mmmu_pro(clone: Path, lmms_eval: Path) -> Table:
    """GPT-4o's replies to MMMU-Pro in four settings."""
    code = _module(clone / "mmmu-pro" / "evaluate.py")
    found = {
        path.stem.removeprefix("gpt-4o_").replace("(10 options)", "").replace("_", ", "): [
            _mmmu_pro_row(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()
        ]
        for path in sorted((clone / "mmmu-pro" / "output").glob("*.jsonl"))
    }
    return _against("MMMU-Pro", code, _lmms_eval(lmms_eval), found)


def mmmu(clone: Path, lmms_eval: Path) -> Table:
    """LLaVA-1.5's and Qwen-VL's replies to the multiple choice questions of MMMU's validation set."""
    sys.path.insert(0, str(clone / "mmmu"))
    code = _module(clone / "mmmu" / "utils" / "eval_utils.py")
    found: dict[str, list[Choice]] = {}
    for path in sorted((clone / "mmmu" / "example_outputs").glob("*/*/output.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            if row["question_type"] == "multiple-choice":
                choice = Choice(str(row["response"]), list(map(str, row["index2ans"].values())), row["answer"])
                found.setdefault(path.parents[1].name, []).append(choice)
    return _against("MMMU", code, _lmms_eval(lmms_eval), found)


def _mmmu_pro_row(row: dict[str, Any]) -> Choice:
    options = ast.literal_eval(row["options"]) if isinstance(row["options"], str) else row["options"]
    reply = row["response"] if isinstance(row["response"], str) else ""  # an error message of the server is no reply
    return Choice(reply, list(map(str, options)), row["answer"])


def _against(name: str, code: ModuleType, lmms_eval: ModuleType, found: dict[str, list[Choice]]) -> Table:
    table: Table = [
        ("replies", "rows", "Winnow", f"{name}'s code", "… without luck", "lmms-eval's code", "… without luck",
         "Winnow alone right", f"{name}'s alone right", "of these, refusals"),
    ]  # fmt: skip
    for label, rows in found.items():
        ours = [read_answer(row.reply, "stop", _LETTER, row.options).answer for row in rows]
        refusing = [own is None and refuses(row.reply) for row, own in zip(rows, ours, strict=True)]
        columns = [ours]
        for module, parse in ((code, "parse_multi_choice_response"), (lmms_eval, "parse_mmmu_multi_choice_response")):
            columns.append(_parsed(module, parse, rows, draw=True))
            read = _parsed(module, parse, rows, draw=False)
            columns.append([None if refuse else letter for refuse, letter in zip(refusing, read, strict=True)])
        drawn = columns[1]
        only_ours = only_theirs = refused = 0
        for row, own, other in zip(rows, ours, drawn, strict=True):
            only_ours += own == row.answer != other
            only_theirs += other == row.answer != own
            refused += other == row.answer != own and refuses(row.reply)
        shares = [_percent(letters, rows) for letters in columns]
        table.append((label, f"{len(rows):,}", *shares, only_ours, only_theirs, refused))
    return table


def _parsed(code: ModuleType, name: str, rows: Sequence[Choice], *, draw: bool) -> list[str | None]:
    """What a function of MMMU's form reads; ``draw`` lets it draw a letter where it finds none, as it does."""
    parse: Parse = getattr(code, name)
    code.random = random.Random(0) if draw else SimpleNamespace(choice=lambda _: None)  # type: ignore[attr-defined]
    letters = [chr(ord("A") + number) for number in range(26)]
    return [
        parse(row.reply, letters[: len(row.options)], dict(zip(letters, row.options, strict=False))) for row in rows
    ]


def _percent(letters: Sequence[str | None], rows: Sequence[Choice]) -> str:
    right = sum(letter == row.answer for letter, row in zip(letters, rows, strict=True))
    return f"{100 * right / len(rows):.2f}"


def _lmms_eval(clone: Path) -> ModuleType:
    return _module(clone / "lmms_eval" / "tasks" / "_task_utils" / "mmmu_mcq_utils.py")


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"peer_{path.stem}", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- numbers and letters against GPT-4 ---------------------------------------------------------------------


def mathvista(clone: Path) -> Table:
    """MathVista's testmini: what Winnow reads against what GPT-4 extracted, where both found an answer."""
    table: Table = [("replies", "letters: both read", "agree", "numbers: both read", "agree", "Winnow reads nothing")]
    for name in _MATHVISTA:
        rows = json.loads((clone / "results" / f"{name}.json").read_text(encoding="utf-8")).values()
        pairs: dict[str, list[bool]] = {"multi_choice": [], "free_form": []}
        nothing = 0
        for row in rows:
            if not (theirs := _extracted(row)):
                continue
            ours = _read(row)
            nothing += ours is None
            if ours is not None:
                pairs[row["question_type"]].append(ours == theirs)
        shown = [
            text for found in pairs.values() for text in (f"{len(found):,}", f"{100 * sum(found) / len(found):.1f}%")
        ]
        table.append((name.partition("/output_")[2], *shown, nothing))
    return table


def _extracted(row: dict[str, Any]) -> str | None:
    """GPT-4's extraction as a letter or a number; None where it is neither, or takes an option nobody named."""
    text = str(row.get("extraction") or "").strip()
    if row["question_type"] == "multi_choice":
        letter = re.match(r"\(?([A-Z])\)?(?![\w'])", text)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(row["choices"])]
        if letter and letter[1] in letters:
            return letter[1]
        return letters[row["choices"].index(text)] if row["choices"].count(text) == 1 else None
    return text if re.fullmatch(r"-?\d+(?:\.\d+)?", text) else None


def _read(row: dict[str, Any]) -> str | None:
    if row["question_type"] == "multi_choice":
        return read_answer(row["response"] or "", "stop", _LETTER, row["choices"]).answer
    number = read_answer(row["response"] or "", "stop", _NUMBER).answer
    return None if number is None else row["extraction"] if float(number) == float(row["extraction"]) else number


# ---- yes and no --------------------------------------------------------------------------------------------


def pope(clone: Path) -> Table:
    """LLaVA-1.5-7B's replies to POPE, accuracy by Winnow's reader and by POPE's rule."""
    table: Table = [("replies", "rows", "Winnow", "POPE's rule", "read differently")]
    for path in sorted((clone / "outputs" / "pope").glob("*/*.jsonl")):
        subset = next(part for part in ("adversarial", "popular", "random") if part in path.stem)
        asked = clone / "data" / "coco" / f"coco_pope_{subset}.json"
        labels = {row["question_id"]: row["label"] for row in _lines(asked)}
        rows = [(row["text"], labels[row["question_id"]]) for row in _lines(path)]
        ours = [read_answer(text, "stop", _YES_NO).answer for text, _ in rows]
        theirs = [parse_yes_no(text, variant="official") for text, _ in rows]
        shares = [
            100 * sum(a == b for a, (_, b) in zip(read, rows, strict=True)) / len(rows) for read in (ours, theirs)
        ]
        differ = sum(a != b for a, b in zip(ours, theirs, strict=True))
        table.append((path.stem, f"{len(rows):,}", *(f"{share:.2f}" for share in shares), differ))
    return table


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())


def _markdown(table: Table) -> str:
    rule = "|".join(["---", *["---:"] * (len(table[0]) - 1)])
    lines = [f"| {' | '.join(map(str, row))} |" for row in table]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


if __name__ == "__main__":
    main()
