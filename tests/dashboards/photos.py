"""A data folder as customers have them: photographs of scikit-image and scikit-learn, long questions and names, several
scripts, boxes, options, a conversation, eight runs, and two people who decided and disagree."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import skimage
import sklearn.datasets
from PIL import Image

from dashboards.data.catalog import scan
from dashboards.data.reviews import append
from dashboards.find.embed import embed_missing
from dashboards.review.assignment import OVERLAP, new_assignment, save
from dashboards.review.entries import content_digest
from dashboards.review.queues import Queue, entries
from tests.dashboards.folders import answered_by
from tests.dashboards.found import build_found
from winnow.corrections import WRONG_REFERENCE, Correction
from winnow.files import sha256_bytes

_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "page.png",
           "motorcycle_left.png", "retina.jpg", "coins.png", "camera.png")  # fmt: skip
_LONG = (
    "Look closely at the whole picture before you answer. Which animal is shown, what is the colour of its coat, in"
    " which direction does it look, and is there anything in the picture that would let a careful reader tell whether"
    " it was taken indoors or outdoors? Give one short phrase for each of the four parts, in this order."
)
_REASONING = "First I look at the middle of the picture. Then I compare its parts one by one."
RUNS = (
    "llava-v1.6-mistral-7b-lora-r64-lr2e-4-epoch3-curated-dedup-v4-step-12000", "qwen2-vl-2b-full", "smolvlm-256m",
    "smolvlm-256m-tuned", "internvl-2b-lora-r16", "paligemma-3b-224",
)  # fmt: skip
# (photo, question, references, wrong answer, options)
_ASKED: tuple[tuple[int, str, tuple[str, ...], str, tuple[str, ...]], ...] = (
    (1, _LONG, ("a cat; ginger; towards the camera; indoors", "ginger cat looking at the camera, indoors", "cat",
                "ginger cat", "tabby", "an orange tabby cat", "a ginger cat", "house cat", "kitten", "feline"),
     "a small brown dog; brown; to the left; outdoors", ()),
    (0, "من هي هذه المرأة وما لون بدلتها؟", ("رائدة فضاء ببدلة برتقالية",), "امرأة ببدلة زرقاء", ()),
    (2, "图中的杯子里装的是什么饮料?", ("一杯黑咖啡",), "一杯绿茶", ()),
    (3, "What is being launched?", ("a rocket", "rocket"), "an aeroplane", ()),
    (10, "Which kind of building is this?", ("A",), "C", ("a temple", "a railway station", "a lighthouse")),
    (5, "Transcribe the first line of the page.", ("region-based segmentation",), "Region based segmentation.", ()),
    (11, "Where is the flower? Give a box.", ("<|box_start|>(180,120),(820,900)<|box_end|>",),
     "<|box_start|>(60,40),(500,600)<|box_end|>", ()),
    (8, "How many coins are there?", ("24",), "twenty", ()),
    (6, "What stands in front of the door?", ("a motorcycle", "motorbike"), "a bicycle", ()),
    (4, "Solve $\\int_0^1 x^2\\,dx$ and say how many galaxies are **larger** than the rest.",
     ("$\\frac{1}{3}$, and three",), "1/2", ()),
)  # fmt: skip


def build_photos(root: Path) -> Path:
    """``found.build_found``, ``add_photos`` and ``add_decisions`` below ``root``, which is returned.

    All pictures are embedded.
    """
    build_found(root)
    add_photos(root)
    add_decisions(root, RUNS[-1])
    catalog = scan(root)
    run, folder = catalog.find("evals", RUNS[-1]), catalog.find("curated", "small")
    assert run and folder
    embed_missing(run, folder, lambda done, total: None)
    return root


def add_photos(root: Path, runs: tuple[str, ...] = RUNS, copies: int = 6) -> None:
    """Evaluations of ``runs``; every question is asked ``copies`` times. The last run is the best."""
    pictures = _pictures(root / "raw" / "images" / "photos")
    rows = [_row(number, pictures) for number in range(copies * len(_ASKED))]
    for number, name in enumerate(runs):
        answered_by(root, name, rows, [], right=0.3 + 0.1 * number, seed=number + 10)
        _finish(root / "evals" / name, rows)


def _pictures(folder: Path) -> list[tuple[str, str]]:
    """(path below the image root, key) of each photograph."""
    folder.mkdir(parents=True, exist_ok=True)
    own = [Path(skimage.__file__).parent / "data" / name for name in _PHOTOS]
    own += [Path(sklearn.datasets.__file__).parent / "images" / name for name in ("china.jpg", "flower.jpg")]
    found = []
    for path in own:
        target = folder / path.name
        Image.open(path).convert("RGB").save(target)
        found.append((f"photos/{path.name}", sha256_bytes(target.read_bytes())))
    return found


def _row(number: int, pictures: list[tuple[str, str]]) -> dict[str, Any]:
    photo, question, references, _, options = _ASKED[number % len(_ASKED)]
    several = 3 if number % len(_ASKED) == 8 else 1
    shown = [pictures[(photo + step) % len(pictures)] for step in range(several)]
    return {
        "sample_id": f"photos/validation-split-of-2026/{number:05d}",
        "images": [path for path, _ in shown],
        "image_keys": [key for _, key in shown],
        "task": "vqa",
        "question": question,
        "references": list(references),
        "type": "choice" if options else "open",
    }


def _finish(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Wrong answers that fit the questions, options, and what a model thought."""
    path = folder / "predictions.parquet"
    frame = pd.read_parquet(path)
    asked = [_ASKED[number % len(_ASKED)] for number in range(len(rows))]
    wrong = frame["accuracy"] == 0.0
    frame.loc[wrong, "extracted"] = [one[3] for one, is_wrong in zip(asked, wrong, strict=True) if is_wrong]
    frame["raw"] = [f"{text}." for text in frame["extracted"]]
    frame["status"] = "ok"
    frame["truncated"] = False
    frame["accuracy_right"] = ~wrong
    frame["vqa_accuracy_right"] = ~wrong
    frame["choices"] = [list(one[4]) for one in asked]
    frame["reasoning"] = [_REASONING if number % 3 == 0 else "" for number in range(len(rows))]
    frame.to_parquet(path)


def add_decisions(root: Path, run: str) -> None:
    """Ann and Bob decide, disagree on two rows, and share a queue."""
    frame = pd.read_parquet(root / "evals" / run / "predictions.parquet")
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    numbers = count(1)
    chance = random.Random(0)

    def say(row: int, reviewer: str, action: str, **parts: Any) -> None:
        number = next(numbers)
        one = frame.iloc[row]
        line = {
            "correction_id": f"{number:032x}", "sample_id": one["sample_id"], "content_hash": one["content_hash"],
            "action": action, "reviewer": reviewer, "at": (moment + timedelta(minutes=number)).isoformat(), "run": run,
        } | parts  # fmt: skip
        append(root / "corrections", Correction.model_validate_json(json.dumps(line)))

    say(0, "Ann Li", "keep")
    say(0, "Ann Li", "ambiguous")
    say(0, "Ann Li", "exclude_from_eval", tags=[WRONG_REFERENCE])
    say(0, "Bob", "keep")
    say(0, "Bob", "note", note="The picture is cropped; look at its left edge.")
    say(1, "Ann Li", "ambiguous")
    say(1, "Bob", "keep")
    say(3, "Ann Li", "relabel", field="answers", old=["a rocket", "rocket"], new=["a rocket", "rocket", "launcher"])
    for row in range(10, len(frame) // 2):
        say(row, chance.choice(["Ann Li", "Bob"]), chance.choice(["keep", "keep", "ambiguous"]))
    queue = Queue.from_parameter(f"outcome=All&sort=As stored&run={run}")
    found = entries(scan(root), queue)
    people = ("Ann Li", "Bob")
    save(root, new_assignment(queue.to_parameter(), found.title, len(found), content_digest(found), people, OVERLAP,
                              people[0]))  # fmt: skip
