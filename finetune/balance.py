"""Take away what a question alone gives away: the language prior of a VQA set."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from finetune.data.rows import Rows


def balanced(rows: Rows, chosen: np.ndarray, seed: int) -> np.ndarray:
    """Bool mask over ``chosen``: per question text, no answer is more frequent than the runner-up.

    Where most answers to 'is there a …?' are 'no', a model first learns to say no without
    looking; with yes and no equally often, only the image tells (the idea of VQA v2: Goyal
    et al. 2017, arXiv:1612.00837). Which rows of the too frequent answer stay is drawn by
    ``seed``. Questions with one answer only, and rows of several turns, stay as they are.

    Args:
        chosen: row numbers, int64 (n,).
    """
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    answers: list[str] = []
    for place, row in enumerate(chosen):
        sample = rows[int(row)]
        single = sum(turn.role == "assistant" for turn in sample.conversations) == 1
        answers.append(sample.answer.strip().casefold())
        if single:
            numbers[" ".join(sample.question.casefold().split())].append(place)
    keep = np.ones(len(chosen), dtype=bool)
    rng = np.random.default_rng(seed)
    for question in sorted(numbers):
        places = numbers[question]
        ranked = Counter(answers[place] for place in places).most_common(2)
        if len(ranked) == 2 and ranked[0][1] > ranked[1][1]:
            frequent = np.array([place for place in places if answers[place] == ranked[0][0]])
            keep[rng.choice(frequent, ranked[0][1] - ranked[1][1], replace=False)] = False
    return keep
