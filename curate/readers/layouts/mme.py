"""MME: yes-or-no questions, two for each image, in a folder for each category.

``<category>/<name>.txt`` holds lines ``question<tab>Yes``, the image is ``<name>.jpg`` or ``.png`` beside
it (code_reasoning, color, count, OCR …) or, for artwork, celebrity, landmark, posters and scene, in
``<category>/images/`` with the texts in ``<category>/questions_answers_YN/``. The location is the folder of
the categories, or one category. Ids are ``mme/<category>/<name>/<line>``.
Source: https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from curate.readers.base import Probe, given_root
from curate.recipe import SourceSettings
from winnow.records import BadRow, Sample, Turn, full_id, json_lines

EXAMPLE = "{location: MME_Benchmark_release_version/MME_Benchmark}"
_TEXTS, _IMAGES = "questions_answers_YN", "images"
_SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".webp")
_LOOKED_AT = 50


def looks_like(probe: Probe) -> bool:
    """A folder whose texts are questions with Yes or No behind a tab."""
    if not probe.is_folder:
        return False
    folders = sorted(path for path in probe.path.iterdir() if path.is_dir())
    for folder in [probe.path, *folders[:_LOOKED_AT]]:
        for path in _texts(folder)[:1]:
            with path.open("rb") as handle:
                answer = handle.readline(4096).decode("utf-8", "replace").strip().rpartition("\t")
            if answer[0] and answer[2].strip().lower() in ("yes", "no"):
                return True
    return False


def image_root(settings: SourceSettings) -> Path:
    """The folder of the categories."""
    return given_root(settings) or Path(settings.location)


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Every question, by category and name."""
    root = image_root(settings)
    source = "mme" if settings.source is None else settings.source
    position = 0
    for folder in _categories(Path(settings.location)):
        for path in _texts(folder):
            image = _image(folder, path).relative_to(root).as_posix()
            for number, line in json_lines(path):
                if not line.strip():
                    continue
                question, tab, answer = line.decode("utf-8", "replace").rstrip().rpartition("\t")
                if not tab or not question.strip() or "\ufffd" in question:
                    yield BadRow(f"{path}:{number}", "not a question and an answer with a tab between", position)
                else:
                    yield Sample(
                        id=full_id(f"{folder.name}/{path.stem}/{number - 1}", source, settings.split),
                        image=(image,),
                        conversations=(Turn("user", question), Turn("assistant", answer)),
                        answers=(answer,),
                        source=source,
                        split=settings.split,
                        meta={"category": folder.name, "question_type": folder.name},
                    )
                position += 1


def _categories(location: Path) -> list[Path]:
    """Folders with texts, sorted; the location itself if it is one."""
    if _texts(location):
        return [location]
    return sorted(folder for folder in location.iterdir() if folder.is_dir() and _texts(folder))


def _texts(folder: Path) -> list[Path]:
    inner = folder / _TEXTS
    return sorted((inner if inner.is_dir() else folder).glob("*.txt"))


def _image(folder: Path, text: Path) -> Path:
    """The image of a text; its most likely name if there is none."""
    inner = folder / _IMAGES
    where = inner if inner.is_dir() else text.parent
    options = [where / f"{text.stem}{suffix}" for suffix in _SUFFIXES]
    return next((path for path in options if path.is_file()), options[0])
