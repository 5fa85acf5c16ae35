"""Our tokeniser checked against the Java one of pycocoevalcap: ``evalsuite verify-java``.

Needs Java and ``pip install pycocoevalcap``; nothing else in Winnow does.
"""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.settings.sources import SourceSettings
from evalsuite.metrics.ptb_tokenizer import DROPPED, ptb_tokenize
from winnow.errors import UserError
from winnow.progress import track
from winnow.rows.records import BadRow

_JAR = "stanford-corenlp-3.4.1.jar"
# The original looks across line breaks; a word without meaning to it separates the captions.
_SEPARATOR = "\nzq\n"
_BATCH = 50_000
_WORDS = str.split(r"""
    a the man dog's isn't can't they're I'd've t-shirt black-and-white 3-year-old and/or 24/7 U.S. St. p.m. Mr.
    no. 5 $5.00 €20 £3 50% #1 1,000 3.5 10:30 10:30am '90s 1990's rock'n'roll y'all O'Neill café naïve 日本語
    привет Ελλάδα ½ 20°C foo.com www.foo.com/a http://a.b/c me@foo.com @user #tag R&B AT&T C++ :) ;-) … – — --
    “red” ‘blue’ don’t it’s ’em (left) [sic] {x} "stop" 'go' 😀 ❤️ x\u00ady a\u00a0b ™ © w/ w/o etc. e.g. Jr.
    gonna cannot 5'10" &amp; <br> image_1.jpg 0..n-1 four-o'clock (anti-)war pro- dog-i.e. 0.0s. :o) is?x1
""")
_ENDS = (".", "", " .", "!", "?", ",", ";", "...", ":", " ?!", ".)", "'")
# What Java takes for a line break inside a caption would shift all later captions.
_BREAKS = str.maketrans(dict.fromkeys("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", " "))


@dataclass(frozen=True)
class TokenDifference:
    """A caption on which the two tokenisers disagree; tokens are joined by blanks."""

    caption: str
    ours: str
    java: str


def generated_captions(count: int, seed: int = 0) -> list[str]:
    """Captions made of what is hard to tokenise: quotes, contractions, abbreviations, numbers, scripts, marks."""
    draw = random.Random(seed)
    words = [word.encode().decode("unicode_escape") if "\\u" in word else word for word in _WORDS]
    captions = []
    for _ in range(count):
        chosen = [draw.choice(words) for _ in range(draw.randint(1, 9))]
        marked = [word + draw.choice(_ENDS) if draw.random() < 0.2 else word for word in chosen]
        captions.append(" ".join(marked) + draw.choice(_ENDS))
    return captions


def captions_in(path: Path) -> Iterator[str]:
    """Every line of a ``.txt`` file; every answer and answering turn of anything that ``curate`` reads.

    Raises:
        UserError: the file is missing or of no known layout.
    """
    if path.suffix == ".txt":
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from (line.rstrip("\n") for line in lines)
        return
    from curate.readers import open_source

    for row in open_source(SourceSettings(location=str(path))).rows():
        if not isinstance(row, BadRow):
            yield from row.answers
            yield from (turn.value for turn in row.conversations if turn.role == "assistant")


def find_jar() -> Path:
    """Folder of the jar inside the installed pycocoevalcap.

    Raises:
        UserError: Java or pycocoevalcap is not there.
    """
    if shutil.which("java") is None:
        raise UserError("verify-java needs Java (`java` is not on the PATH)")
    spec = importlib.util.find_spec("pycocoevalcap")
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (jar := Path(location) / "tokenizer" / _JAR).is_file():
            return jar
    raise UserError("verify-java needs the package pycocoevalcap: pip install pycocoevalcap")


def java_tokens(captions: Sequence[str], jar: Path) -> list[str]:
    """What pycocoevalcap makes of each caption read alone, joined by blanks.

    Raises:
        UserError: Java fails, or gives another number of lines.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "captions.txt"
        text = _SEPARATOR.join(caption.translate(_BREAKS) for caption in captions)
        lines.write_bytes((text + "\n").encode("utf-8", "replace"))
        command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
        command += ["-preserveLines", "-lowerCase", "-encoding", "UTF-8", str(lines)]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"java failed: {done.stderr.decode('utf-8', 'replace').strip()[:500]}")
    out = done.stdout.decode("utf-8").split("\n")[: 2 * len(captions) : 2]
    if len(out) != len(captions):
        raise UserError(f"java gave {len(out):,} lines for {len(captions):,} captions")
    return [" ".join(token for token in line.rstrip().split(" ") if token not in DROPPED) for line in out]


def compare_with_java(captions: Iterable[str], jar: Path) -> Iterator[TokenDifference]:
    """Captions on which the tokenisers disagree, one batch after the other."""
    distinct = list(dict.fromkeys(captions))
    starts = range(0, len(distinct), _BATCH)
    for start in track(starts, "asking Java", len(starts)):
        batch = distinct[start : start + _BATCH]
        for caption, java in zip(batch, java_tokens(batch, jar), strict=True):
            ours = " ".join(ptb_tokenize(caption))
            if ours != java:
                yield TokenDifference(caption, ours, java)


def verify(files: Sequence[Path], generated: int, show: int) -> int:
    """Compare on the files' captions and on generated ones, print the differences; returns 1 if there are any.

    Raises:
        UserError: Java or pycocoevalcap is not there, or a file cannot be read.
    """
    jar = find_jar()
    captions = [caption for path in files for caption in captions_in(path)]
    captions += generated_captions(generated)
    distinct = list(dict.fromkeys(captions))
    found = list(compare_with_java(distinct, jar))
    for difference in found[:show]:
        print(f"caption  {difference.caption!r}\n  ours   {difference.ours!r}\n  java   {difference.java!r}")
    print(f"{len(distinct):,} captions, {len(found):,} differ" + (f", {show} shown" if len(found) > show else ""))
    return int(bool(found))
