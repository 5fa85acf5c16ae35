"""A small curated set with every kind of row that exporters meet."""

from pathlib import Path

from curate import pipeline
from curate.exports.export import export
from curate.exports.rows import open_curated
from curate.settings.outputs import ExportSettings
from tests.curate import sets


def turns(*texts, system=None):
    """Conversation of user and assistant by turns."""
    roles = ("user", "assistant")
    first = [{"from": "system", "value": system}] if system else []
    return first + [{"from": roles[number % 2], "value": text} for number, text in enumerate(texts)]


def talk(*turns):
    """Messages from (role, text) pairs; a third element holds more keys."""
    return [{"role": role, "content": text, **(more[0] if more else {})} for role, text, *more in turns]


ROWS = [
    sets.row(1, "a.png", "What is it?", "a cat", answers=["a cat", "a cat", "cat"], meta={"n": 1}),
    sets.row(2, "b.jpg", conversations=turns("Look: <image>\nWho?", "Zoë", "And where?", "there")),
    sets.row(3, ["a.png", "c.webp"], conversations=turns("Same?", "no", system="Be brief.")),
    sets.row(4, ["c.webp", "b.jpg"], conversations=turns("First <image> then <image>?", "yes", "So?", "no")),
    sets.row(5, None, "What is 2 + 2?", "4"),
    sets.row(6, None, conversations=turns("Hi", "Hello", system="You are a cat.")),
    sets.row(7, "tiny.png", "Dropped?", "yes"),
    sets.row(8, "a.png", "Why!", "because", meta={"n": "text", "deep": {"x": [1]}}),
]
UNFIT = {
    "set/train/9": sets.row(9, "a.png", conversations=turns("Unanswered?")),
    "set/train/10": sets.row(10, "a.png", conversations=turns("Two <image> <image>", "no")),
    "set/train/11": sets.row(11, None, conversations=turns("What does <image> mean?", "a marker")),
    "set/train/12": sets.row(12, "b.jpg", conversations=[*turns("a", "b"), {"from": "system", "value": "late"}]),
}
FITTING = [f"set/train/{number}" for number in (1, 2, 3, 4, 5, 6, 8)]


def make(folder: Path, rows=(), **changes) -> Path:
    """Curate ``ROWS``, the unfit ones and ``rows``; returns the curated folder."""
    images = folder / "images"
    sets.save(images / "a.png", sets.scene(1))
    sets.save(images / "b.jpg", sets.scene(2), quality=90)
    sets.save(images / "c.webp", sets.scene(3))
    sets.save(images / "tiny.png", sets.scene(4, side=12))
    sets.write_lines(folder / "rows.jsonl", [*ROWS, *UNFIT.values(), *rows])
    pipeline.run(sets.recipe(folder, **changes), "recipe.yaml")
    return folder / "out"


def exported(curated: Path, to, **settings):
    """Export; the folder and what ``export`` says of it."""
    done = export(open_curated(curated), ExportSettings(to=to, **settings))
    return done.folder, done
