"""Heads on embeddings: the forms of published ones, against torch itself, and what is refused."""

import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from curate.settings.signals import ClipSettings, HeadSettings, MeasureSettings
from curate.signals.heads import HeadUnusable, read_head

WIDTH = 8
EMBEDDINGS = np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float16)


def layers(*widths, relu=False):
    torch.manual_seed(0)
    linear = [torch.nn.Linear(one, other) for one, other in itertools.pairwise(widths)]
    between = torch.nn.ReLU() if relu else torch.nn.Dropout(0.2)
    return torch.nn.Sequential(*[part for layer in linear for part in (layer, between)][:-1]).eval()


def written(path, module):
    """The module's tensors in the form that the file's name says; ``layers.`` in front, as LAION has it."""
    state = {f"layers.{name}": value for name, value in module.state_dict().items()}
    if path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    elif path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if path.suffix == ".bin" else state, path)
    return path


@pytest.mark.parametrize("form", ["npz", "safetensors", "pth", "pt", "bin"])
@pytest.mark.parametrize("relu", [False, True])
def test_every_form_gives_what_torch_gives(form, relu, tmp_path):
    # Ten layers, so that their numbers sort otherwise than their names.
    module = layers(WIDTH, 7, 6, 5, 4, 3, 3, 3, 1, relu=relu)
    head = read_head(written(tmp_path / f"head.{form}", module), WIDTH, relu=relu, sigmoid=False)
    with torch.inference_mode():
        expected = module(torch.tensor(EMBEDDINGS).float())[:, 0].numpy()
    assert head.scores(EMBEDDINGS) == pytest.approx(expected, abs=1e-5)


def test_one_linear_layer_as_the_aesthetic_predictor_has_it(tmp_path):
    module = torch.nn.Linear(WIDTH, 1)
    torch.save(module.state_dict(), tmp_path / "sa_0_4_vit_linear.pth")
    raw = read_head(tmp_path / "sa_0_4_vit_linear.pth", WIDTH, relu=False, sigmoid=False).scores(EMBEDDINGS)
    share = read_head(tmp_path / "sa_0_4_vit_linear.pth", WIDTH, relu=False, sigmoid=True).scores(EMBEDDINGS)
    assert share == pytest.approx(1 / (1 + np.exp(-raw)))
    np.savez(tmp_path / "flat.npz", weight=np.full(WIDTH, 900.0))
    assert set(read_head(tmp_path / "flat.npz", WIDTH, relu=False, sigmoid=True).scores(np.ones((1, WIDTH)))) == {1.0}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": np.zeros((1, 9))}, r"from 8 numbers to 1.*weight \[1, 9\].*name the CLIP"),
        ({"weight": np.zeros((2, 8))}, "from 8 numbers to 1"),
        ({"bias": np.zeros(1)}, "from 8 numbers to 1"),
        ({}, "nothing"),
        ({"weight": np.zeros((1, 8)), "more": np.zeros(1)}, "more"),
        ({"0.weight": np.zeros((3, 8)), "1.weight": np.zeros((1, 4))}, "from 8 numbers to 1"),
        ({"weight": np.zeros((1, 8)), "bias": np.zeros(3)}, "from 8 numbers to 1"),
        ({"weight": np.full((1, 8), np.nan)}, "finite"),
        ({"weight": np.array(["a"], object)}, "not readable"),
        ({"weight": np.array(["a"] * 8)}, "could not convert|not readable|numbers"),
    ],
)
def test_what_does_not_fit_is_a_sentence(tensors, message, tmp_path):
    np.savez(tmp_path / "head.npz", **tensors)
    with pytest.raises(HeadUnusable, match=message):
        read_head(tmp_path / "head.npz", WIDTH, relu=False, sigmoid=True)


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize("name", ["head.pth", "head.npz", "head.safetensors"])
def test_a_pickle_is_not_run_and_garbage_is_a_sentence(name, tmp_path, capsys):
    torch.save({"weight": Evil()}, tmp_path / name)
    with pytest.raises(HeadUnusable, match="not readable"):
        read_head(tmp_path / name, WIDTH, relu=False, sigmoid=True)
    (tmp_path / name).write_bytes(b"garbage")
    with pytest.raises(HeadUnusable, match="not readable"):
        read_head(tmp_path / name, WIDTH, relu=False, sigmoid=True)
    assert capsys.readouterr().out == ""


def test_a_file_alone_is_short_for_a_head(tmp_path):
    settings = MeasureSettings(clip=ClipSettings(model="x"), heads={"taste": "a.pth", "nude": {"file": "b.npz"}})
    assert settings.heads["taste"] == HeadSettings(file="a.pth") and settings.scores == ("taste", "nude")
