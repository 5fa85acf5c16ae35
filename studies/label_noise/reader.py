"""The study's model: reads a question about a picture whose features are known, and answers with one of a closed set.

The tower is EfficientNet-Lite0, trained on the classes of ImageNet (Apache-2.0, the weights come in a package); it
stays as it is, so that its 1,280 features of a picture are computed once. What is trained, from random weights, is all
that comes after it: a layer on the features, one on the words of the question, their product, and two layers to the
answers. This is the classic model for questions about pictures (Antol et al. 2015, Zhou et al. 2015) and not a language
model: a training takes seconds, so that there can be many.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studies.label_noise.sets import Row
from winnow.files import atomic_path, digest_of

VERSION = 1  # raise it when the same rows give another model
Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Budget:
    """The training of every arm.

    Attributes:
        steps, batch: optimiser steps, rows of one.
        rate: of Adam, falling to zero as a cosine.
        width: of the layers.
    """

    steps: int = 600
    batch: int = 128
    rate: float = 1e-3
    width: int = 128


class Encoded:
    """Rows as numbers.

    Attributes:
        pictures: (rows,) place of the row's picture in ``features``.
        words: (rows, words) how often each word is in the question.
        answers: (rows,) place of the answer.
    """

    def __init__(self, rows: Sequence[Row], known: Known) -> None:
        self.ids = tuple(row.id for row in rows)
        self.pictures = np.array([known.place[row.picture] for row in rows], np.int64)
        self.words = np.zeros((len(rows), len(known.words)), np.float32)
        for at, row in enumerate(rows):
            for word in _words(row.question):
                self.words[at, known.words[word]] += 1
        self.answers = np.array([known.answers[row.answer] for row in rows], np.int64)


class Known:
    """Features, words and answers that all arms share.

    Attributes:
        features: (pictures, 1280), centred on the training pictures and divided by one number.
        place, words, answers: picture, word, answer → its number.
    """

    def __init__(self, vectors: Mapping[int, Floats], rows: Sequence[Row]) -> None:
        """Take the words and answers of ``rows``; a picture below 0 is a test picture."""
        self.place = {number: at for at, number in enumerate(vectors)}
        stacked = np.stack(list(vectors.values()))
        training = stacked[[number >= 0 for number in vectors]]
        self.features = (stacked - training.mean(0)) / training.std(0).mean()
        self.words = {
            word: at for at, word in enumerate(sorted({word for row in rows for word in _words(row.question)}))
        }
        self.answers = {answer: at for at, answer in enumerate(sorted({row.answer for row in rows}))}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def order_of(rows: int, kept: NDArray[np.bool_], seed: int, length: int) -> Numbers:
    """``length`` numbers of kept rows, epoch after epoch, each in the order of a shuffle of all ``rows``.

    So two arms see the rows that both have in the same order.
    """
    rng = np.random.default_rng(seed)
    found: list[Numbers] = []
    while sum(map(len, found)) < length:
        epoch = rng.permutation(rows)
        found.append(epoch[kept[epoch]])
    return np.concatenate(found)[:length]


class Reader:
    """The trained layers.

    Attributes:
        logits: rows and the numbers of some of them, and whether their pictures are seen, to (chosen, answers).
    """

    def __init__(self, known: Known, width: int, seed: int) -> None:
        import torch
        from torch import nn

        torch.manual_seed(seed)
        self.known = known
        self.picture, self.words = nn.Linear(known.features.shape[1], width), nn.Linear(len(known.words), width)
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, len(known.answers)))

    def logits(self, of: Encoded, chosen: Numbers, *, seen: bool = True) -> Any:
        """(chosen, answers); without its picture a row is asked about the mean of all training pictures."""
        import torch
        from torch.nn import functional

        features = torch.from_numpy(self.known.features[of.pictures[chosen]])
        shown = functional.relu(self.picture(features if seen else torch.zeros_like(features)))
        asked = functional.relu(self.words(torch.from_numpy(of.words[chosen])))
        return self.head(torch.cat([shown * asked, shown], dim=1))

    def parameters(self) -> list[Any]:
        """All that is trained."""
        return [parameter for part in (self.picture, self.words, self.head) for parameter in part.parameters()]


def train(known: Known, rows: Encoded, kept: NDArray[np.bool_], budget: Budget, seed: int) -> Reader:
    """Train on the kept rows."""
    import torch
    from torch.nn import functional

    reader = Reader(known, budget.width, seed)
    optimiser = torch.optim.AdamW(reader.parameters(), budget.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, budget.steps)
    order = order_of(len(rows.ids), kept, seed, budget.steps * budget.batch)
    for chosen in order.reshape(budget.steps, budget.batch):
        loss = functional.cross_entropy(reader.logits(rows, chosen), torch.from_numpy(rows.answers[chosen]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return reader


def right_answers(reader: Reader, test: Encoded) -> NDArray[np.float32]:
    """(test rows,) 1 where the answer is right, else 0."""
    import torch

    with torch.no_grad():
        said = reader.logits(test, np.arange(len(test.ids))).argmax(1).numpy()
    return np.asarray(said == test.answers, np.float32)


def losses_of(
    known: Known, rows: Encoded, budget: Budget, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Losses (rows,) in nats of a model that was trained on all rows: with the picture, and without."""
    import torch
    from torch.nn import functional

    reader, every = train(known, rows, np.ones(len(rows.ids), bool), budget, seed), np.arange(len(rows.ids))
    answers = torch.from_numpy(rows.answers)
    with torch.no_grad():
        found = [
            functional.cross_entropy(reader.logits(rows, every, seen=seen), answers, reduction="none").double().numpy()
            for seen in (True, False)
        ]
    return found[0], found[1]


class Lab:
    """Trains arms, each once: what is done is kept under a digest of everything that decides it."""

    def __init__(self, cache: Path, known: Known, test: Sequence[Row], budget: Budget) -> None:
        self.cache, self.known, self.budget = cache, known, budget
        self.test = Encoded(test, known)
        self.pictures = tuple(str(row.picture) for row in test)
        self.kinds = np.array([row.kind for row in test])
        features = known.features.tobytes()
        self._shared = digest_of([VERSION, asdict(budget), _digest(features), [asdict(row) for row in test]])

    def arm(self, name: str, rows: Sequence[Row], kept: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
        """Train on the kept rows, unless that is done; (test rows,) 1 where the answer is right, else 0."""
        what = digest_of([self._shared, [asdict(row) for row in rows], kept.tolist(), seed])
        path = self.cache / f"{name}-{seed}-{what[:12]}.npz"
        if not path.is_file():
            began = time.process_time()
            reader = train(self.known, Encoded(rows, self.known), kept, self.budget, seed)
            right = right_answers(reader, self.test)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez(file, right=right)
            print(f"{name}, seed {seed}: {right.mean():.4f}, {time.process_time() - began:.1f} CPU s", flush=True)
        with np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored["right"], np.float64)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
