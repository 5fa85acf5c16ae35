"""The Java tokeniser of pycocoevalcap beside ours: ``evalsuite verify-java``.

Needs Java and ``pip install pycocoevalcap``; nothing else in Winnow does.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import UserError
from curate.progress import track
from evalsuite.metrics.tokenizer import _DROPPED, ptb_tokenize

_JAR = "stanford-corenlp-3.4.1.jar"
# The original looks across line breaks; a word that means nothing to it keeps captions apart.
_APART = "\nzq\n"
_BATCH = 50_000
# Line breaks to Java inside a caption would shift every later one.
_BREAKS = str.maketrans(dict.fromkeys("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", " "))


@dataclass(frozen=True)
class Difference:
    """A caption on which the two tokenisers disagree; tokens are joined by blanks."""

    caption: str
    ours: str
    java: str


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
        text = _APART.join(caption.translate(_BREAKS) for caption in captions)
        lines.write_bytes((text + "\n").encode("utf-8", "replace"))
        command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
        command += ["-preserveLines", "-lowerCase", "-encoding", "UTF-8", str(lines)]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"java failed: {done.stderr.decode('utf-8', 'replace').strip()[:500]}")
    out = done.stdout.decode("utf-8").split("\n")[: 2 * len(captions) : 2]
    if len(out) != len(captions):
        raise UserError(f"java gave {len(out):,} lines for {len(captions):,} captions")
    return [" ".join(token for token in line.rstrip().split(" ") if token not in _DROPPED) for line in out]


def compare_with_java(captions: Iterable[str], jar: Path) -> Iterator[Difference]:
    """Captions on which the tokenisers disagree, one batch after the other."""
    distinct = list(dict.fromkeys(captions))
    starts = range(0, len(distinct), _BATCH)
    for start in track(starts, "asking Java", len(starts)):
        batch = distinct[start : start + _BATCH]
        for caption, java in zip(batch, java_tokens(batch, jar), strict=True):
            ours = " ".join(ptb_tokenize(caption))
            if ours != java:
                yield Difference(caption, ours, java)
