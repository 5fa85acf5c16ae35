"""CIFAR-10N: pictures and labels are matched by class and number, and nothing in a label file is run."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from studies.label_noise.cifar import CLASSES, order_evidence, read_cifar, read_labels
from winnow.errors import UserError


def data(folder, clean=(3, 0, 3, 9), worse=(5, 0, 3, 1), aggregate=(3, 0, 3, 9)):
    for side in ("train", "test"):
        for label, name in enumerate(CLASSES):
            (folder / "CIFAR-10-images" / side / name).mkdir(parents=True)
            count = sum(label == one for one in clean) if side == "train" else 2
            for number in range(count):
                image = Image.new("RGB", (32, 32), (label, number, 0))
                image.save(folder / "CIFAR-10-images" / side / name / f"{number:04d}.jpg")
    file = folder / "cifar-10-100n/data/CIFAR-10_human.pt"
    file.parent.mkdir(parents=True)
    named = {"clean_label": clean, "worse_label": worse, "aggre_label": aggregate}
    torch.save({name: np.array(labels, np.int64) for name, labels in named.items()}, file)
    return folder


def test_pictures_follow_the_order_of_the_labels(tmp_path):
    found = read_cifar(data(tmp_path))
    assert [f"{path.parent.name}/{path.stem}" for path in found.train] == [
        "cat/0000", "airplane/0000", "cat/0001", "truck/0000",
    ]  # fmt: skip
    assert found.given["worst"].tolist() == [5, 0, 3, 1] and found.given["aggregate"].tolist() == [3, 0, 3, 9]
    assert len(found.test) == 20 and found.test_labels.tolist() == np.repeat(np.arange(10), 2).tolist()


def test_a_missing_folder_says_how_to_get_the_data(tmp_path):
    with pytest.raises(UserError, match="git clone"):
        read_cifar(tmp_path)


def test_other_counts_and_gaps_are_refused(tmp_path):
    folder = data(tmp_path)
    (folder / "CIFAR-10-images/train/cat/0001.jpg").rename(folder / "CIFAR-10-images/train/cat/0002.jpg")
    with pytest.raises(UserError, match="not numbered without a gap"):
        read_cifar(folder)
    (folder / "CIFAR-10-images/train/cat/0002.jpg").unlink()
    with pytest.raises(UserError, match="1 pictures, but 2 clean labels say cat"):
        read_cifar(folder)


class _Runs:
    def __reduce__(self):
        return (print, ("a label file was run",))


def test_a_label_file_is_not_run(tmp_path, capsys):
    torch.save({"clean_label": _Runs()}, tmp_path / "labels.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(_Runs()))
    (tmp_path / "text.pt").write_text("labels")
    torch.save({"clean_label": np.zeros(3, np.int64)}, tmp_path / "less.pt")
    for name in ("labels.pt", "old.pt", "text.pt", "less.pt"):
        with pytest.raises(UserError, match="no label file of CIFAR-10N"):
            read_labels(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_labels_in_another_order_within_a_class_show():
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 10, 2000)
    hard = rng.random(2000)
    likely = np.full((2000, 10), 0.1)
    likely[np.arange(2000), clean] = 1 - hard
    given = np.where(rng.random(2000) < hard / 2, (clean + 1) % 10, clean)
    found = order_evidence(likely, clean, given)
    assert found["auroc"] > 0.65 and abs(found["shifted"] - 0.5) < 0.02 and found["shifted_most"] < 0.58
