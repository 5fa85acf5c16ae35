"""The transformers backend: adapters, 4-bit, what is left out of it, and the shared image."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import build_data, build_model

from evalsuite.backends import Request
from evalsuite.backends.greedy import Unit, first_logits, plan_plain, plan_shared, prepare
from evalsuite.backends.model import Loaded, load_model, load_processor, model_digest, pinned_model
from evalsuite.backends.transformers import generate_replies, prefetch, prefix_can_be_shared, render
from evalsuite.recipe import ModelSettings
from tests.winnow.hub_server import COMMIT, mirror
from winnow.vlm.models import outside_decoder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_vlm: Path) -> Path:
    """LoRA on the language model and a trained projector, with random weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(3)
    base = AutoModelForImageTextToText.from_pretrained(tiny_vlm)
    targets = [name for name, module in base.named_modules() if "language_model" in name and name.endswith("_proj")]
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, modules_to_save=["model.multi_modal_projector"])
    model = get_peft_model(base, config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1 if "lora" in name else 0.3)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


def settings(model: Path, **changes: object) -> ModelSettings:
    return ModelSettings.model_validate({"path": str(model), "dtype": "float32", "device": "cpu", **changes})


def requests(loaded: Loaded, data: Path, count: int = 12) -> list[Request]:
    images = [str(data.parent / "images" / f"{number}.png") for number in range(3)]
    texts = ["what is the color?", "is it red?", "name the shape in the image please", "yes?"]
    return [
        Request(f"k{n}", render(loaded.processor, texts[n % 4], 1, None), (images[n // 4],), (images[n // 4],), 5, ())
        for n in range(count)
    ]


def texts_of(loaded: Loaded, asked: list[Request], *, share: bool = True) -> dict[str, str]:
    units = generate_replies(loaded, asked, batch_size=2, share_prefix=share, known=lambda key: False)
    return {reply.key: reply.raw for unit in units for reply in unit}


def load(model: Path, **changes: object) -> Loaded:
    chosen = settings(model, **changes)
    return load_model(chosen, load_processor(chosen))


def logits(loaded: Loaded, asked: list[Request]):
    return first_logits(loaded, prepare(Unit(tuple(asked)), loaded, None))


def test_adapter_merged_or_not_is_the_same_function(tmp_path: Path, tiny_vlm: Path, adapter: Path) -> None:
    import torch

    data = build_data(tmp_path / "data")
    base, merged = load(tiny_vlm), load(tiny_vlm, adapter=adapter)
    apart = load(tiny_vlm, adapter=adapter, merge_adapter="none")
    asked = requests(base, data)
    assert not torch.allclose(logits(base, asked), logits(merged, asked), atol=0.1)
    torch.testing.assert_close(logits(merged, asked), logits(apart, asked), atol=1e-4, rtol=1e-4)
    assert texts_of(merged, asked) == texts_of(apart, asked) != texts_of(base, asked)


def test_4_bit_spares_tower_and_projector_and_merging_keeps_the_trained_function(
    tmp_path: Path, tiny_vlm: Path, adapter: Path
) -> None:
    import torch
    from bitsandbytes.nn import Linear4bit

    data = build_data(tmp_path / "data")
    four_bit = load(tiny_vlm, quantization="nf4")
    names = [name for name, module in four_bit.model.named_modules() if isinstance(module, Linear4bit)]
    assert len(names) == 14 and all(".language_model." in name for name in names)
    assert outside_decoder(four_bit.model) == ["model.vision_tower", "model.multi_modal_projector", "lm_head"]
    asked = requests(four_bit, data)
    full = logits(load(tiny_vlm), asked)
    trained = logits(load(tiny_vlm, quantization="nf4", adapter=adapter, merge_adapter="none"), asked)
    merged = logits(load(tiny_vlm, quantization="nf4", adapter=adapter), asked)
    into_original = logits(load(tiny_vlm, adapter=adapter), asked)
    assert not torch.allclose(full, logits(four_bit, asked), atol=0.01), "4-bit must change something"
    assert (merged - trained).norm() < 0.02 * trained.norm(), "expanded, then merged"
    assert (into_original - trained).norm() > 5 * (merged - trained).norm()


def test_shared_image_gives_the_logits_of_whole_chats(tmp_path: Path, tiny_vlm: Path) -> None:
    import torch

    loaded = load(tiny_vlm)
    asked = requests(loaded, build_data(tmp_path / "data"))
    apart = first_logits(loaded, prepare(Unit(tuple(asked)), loaded, "<image>"))
    torch.testing.assert_close(apart, logits(loaded, asked), atol=1e-4, rtol=1e-4)
    assert prefix_can_be_shared(loaded, asked, "<image>")
    assert not prefix_can_be_shared(loaded, [asked[0], asked[4], asked[8]], "<image>"), "one question an image"


def test_sharing_is_refused_when_it_changes_the_answer(tmp_path: Path, tiny_vlm: Path) -> None:
    loaded = load(tiny_vlm)
    asked = requests(loaded, build_data(tmp_path / "data"))
    forward = loaded.model.forward
    looks = []

    def depends_on_the_whole_chat(*args, **kwargs):
        looks.append(kwargs["input_ids"].shape[1])
        output = forward(*args, **kwargs)
        output.logits = output.logits.roll(kwargs["input_ids"].shape[1], dims=-1)
        return output

    loaded.model.forward = depends_on_the_whole_chat
    assert not prefix_can_be_shared(loaded, asked, "<image>") and looks


def test_units_hold_every_request_once_and_images_stay_together(tmp_path: Path, tiny_vlm: Path) -> None:
    loaded = load(tiny_vlm)
    asked = requests(loaded, build_data(tmp_path / "data"))
    mixed = [asked[i] for i in (5, 0, 9, 1, 4, 10, 2, 3, 6, 7, 8, 11)]
    shared = plan_shared(mixed, 2, "<image>")
    assert [len({request.images for request in unit.requests}) for unit in shared] == [2, 1]
    plain = plan_plain(mixed, 5)
    assert [len(unit.requests) for unit in plain] == [5, 5, 2]
    for units in (shared, plain):
        assert sorted(request.key for unit in units for request in unit.requests) == sorted(r.key for r in asked)


def test_a_damaged_image_costs_its_own_rows(tmp_path: Path, tiny_vlm: Path) -> None:
    data = build_data(tmp_path / "data")
    loaded = load(tiny_vlm)
    asked = requests(loaded, data)
    whole = texts_of(loaded, asked)
    broken = data.parent / "images" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    for share in (True, False):
        units = generate_replies(loaded, asked, batch_size=2, share_prefix=share, known=lambda key: False)
        replies = {reply.key: reply for unit in units for reply in unit}
        failed = sorted(key for key, reply in replies.items() if reply.finish_reason == "error")
        assert failed == ["k4", "k5", "k6", "k7"] and all("truncated" in replies[key].error for key in failed)
        assert all(replies[key].raw == whole[key] for key in whole if key not in failed)


def test_digest_follows_weights_adapter_and_loading(tmp_path: Path, tiny_vlm: Path, adapter: Path) -> None:
    plain = model_digest(settings(tiny_vlm))
    assert plain == model_digest(settings(tiny_vlm)) == model_digest(settings(tiny_vlm, share_prefix=False))
    others = [
        model_digest(settings(tiny_vlm, adapter=adapter)), model_digest(settings(tiny_vlm, quantization="nf4")),
        model_digest(settings(tiny_vlm, dtype="bfloat16")), model_digest(settings(build_model(tmp_path / "m", seed=1))),
    ]  # fmt: skip
    assert len({plain, *others}) == 5


def test_a_model_of_the_hub_counts_with_its_commit(tmp_path: Path, tiny_vlm: Path, monkeypatch) -> None:
    with mirror(tmp_path, monkeypatch) as server:
        server.repos["model", "toy/vlm"] = {path.name: path.read_bytes() for path in tiny_vlm.iterdir()}
        hub = pinned_model(ModelSettings(path="toy/vlm", device="cpu"))
        assert hub.revision == COMMIT and not server.ranges_of("model.safetensors")
        assert model_digest(hub) == model_digest(hub.model_copy(update={"path": f"toy/vlm@{COMMIT}"}))
        assert model_digest(hub) != model_digest(hub.model_copy(update={"revision": "f" * 40}))
        assert load_model(hub, load_processor(hub)).model.config.model_type == "llava"
    local = settings(tiny_vlm)
    assert pinned_model(local) is local


def test_reading_ahead_keeps_order_passes_errors_and_stops() -> None:
    assert list(prefetch(range(20), lambda n: n * n)) == [n * n for n in range(20)]

    def fails(n: int) -> int:
        if n == 3:
            raise RuntimeError("three")
        return n

    got = []
    with pytest.raises(RuntimeError, match="three"):
        got.extend(prefetch(range(10), fails))
    done: list[int] = []
    for value in prefetch(range(1000), lambda n: done.append(n) or n):
        if value == 2:
            break
    assert len(done) < 20


def test_confidence_is_the_probability_of_the_answer_in_either_way_of_decoding(tmp_path: Path, tiny_vlm: Path) -> None:
    import torch

    loaded = load(tiny_vlm)
    asked = [replace(request, logprobs=True) for request in requests(loaded, build_data(tmp_path / "data"))]
    found = []
    for share in (True, False):
        units = generate_replies(loaded, asked, batch_size=2, share_prefix=share, known=lambda key: False)
        found.append({reply.key: reply for unit in units for reply in unit})
    assert {key: reply.raw for key, reply in found[0].items()} == {key: reply.raw for key, reply in found[1].items()}
    one = asked[0]
    reply = found[0][one.key]
    assert reply.confidence == pytest.approx(found[1][one.key].confidence, rel=1e-3) and 0 < reply.confidence < 1
    batch = prepare(Unit((one,)), loaded, None).batch
    total, ids = 0.0, batch["input_ids"]
    for _ in range(reply.output_tokens):
        logits = loaded.model(**{**batch, "input_ids": ids, "attention_mask": torch.ones_like(ids)}).logits[0, -1]
        total += logits.log_softmax(-1).max().item()
        ids = torch.cat([ids, logits.argmax()[None, None]], dim=1)
    assert reply.confidence == pytest.approx(math.exp(total), rel=1e-3)
    plain = generate_replies(loaded, requests(loaded, tmp_path / "data" / "test.jsonl"), batch_size=2,
                             share_prefix=True, known=lambda key: False)  # fmt: skip
    assert all(reply.confidence is None for unit in plain for reply in unit)
