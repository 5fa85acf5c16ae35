"""Processors of the model families, built offline from bare configurations with small images."""

from __future__ import annotations

from tests.finetune.toys import CHATML, build_tokenizer

CONTROL = ("<|im_start|>", "<|im_end|>", "<pad>")
INST = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'][0]['text'] }}</s>{% else %}[INST] "
    "{% for b in m['content'] %}{% if b['type'] == 'image' %}IMAGE{% else %}{{ b['text'] }}{% endif %}{% endfor %} "
    "[/INST]{% endif %}{% endfor %}"
)
# Trims what it is given and has another name for the assistant.
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{% for b in m['content'] %}"
    "{% if b['type'] == 'image' %}<start_of_image>{% else %}{{ b['text'] | trim }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endfor %}"
)


def image_token(processor) -> int:
    """Id of the token that stands for a part of an image; Gemma's processor names the one before an image."""
    return getattr(processor.tokenizer, "image_token_id", None) or processor.image_token_id


def chatml(image: str) -> str:
    return CHATML.replace("<image>", image)


def tokenizer(*special: str, names: dict[str, str] | None = None, **kwargs):
    """Tokenizer with ``special`` as control tokens; ``names`` become attributes such as image_token."""
    tokens = tuple(dict.fromkeys((*CONTROL, *special)))
    return build_tokenizer(tokens, extra_special_tokens=names or {}, **kwargs)


def llava_next():
    from transformers import LlavaNextImageProcessor, LlavaNextProcessor

    images = LlavaNextImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=[[32, 64], [64, 32]]
    )
    words = tokenizer("<image>", "</s>", eos_token="</s>")
    template = INST.replace("IMAGE", "<image>\n")
    return LlavaNextProcessor(
        images, words, patch_size=8, vision_feature_select_strategy="default", chat_template=template,
        num_additional_image_tokens=1,
    )  # fmt: skip


def llava_onevision():
    from transformers import LlavaOnevisionImageProcessor, LlavaOnevisionProcessor, LlavaOnevisionVideoProcessor

    images = LlavaOnevisionImageProcessor(size={"height": 32, "width": 32}, image_grid_pinpoints=[[32, 32], [32, 64]])
    return LlavaOnevisionProcessor(
        images, tokenizer("<image>", "<video>"), LlavaOnevisionVideoProcessor(), num_image_tokens=16,
        vision_feature_select_strategy="full", chat_template=chatml("<image>"),
    )  # fmt: skip


def _qwen(kind: str, image_class: str, video_class: str, edge: int):
    import transformers

    images = getattr(transformers, image_class)(size={"shortest_edge": edge * edge, "longest_edge": 4 * edge * edge})
    words = tokenizer("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    template = chatml("<|vision_start|><|image_pad|><|vision_end|>")
    videos = getattr(transformers, video_class)()
    return getattr(transformers, kind)(images, words, videos, chat_template=template)


def qwen2_5_vl():
    return _qwen("Qwen2_5_VLProcessor", "Qwen2VLImageProcessor", "Qwen2VLVideoProcessor", 56)


def qwen3_vl():
    return _qwen("Qwen3VLProcessor", "Qwen2VLImageProcessor", "Qwen3VLVideoProcessor", 64)


def qwen3_vl_moe():
    return qwen3_vl()


def qwen3_5():
    return qwen3_vl()


def qwen2_vl():
    return _qwen("Qwen2VLProcessor", "Qwen2VLImageProcessor", "Qwen2VLVideoProcessor", 56)


def mistral3():
    return pixtral()


def gemma3():
    from transformers import Gemma3ImageProcessor, Gemma3Processor

    names = {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    words = tokenizer(
        *names.values(), "<start_of_turn>", "<end_of_turn>", "<bos>", names=names, bos_token="<bos>",
        eos_token="<end_of_turn>",
    )  # fmt: skip
    images = Gemma3ImageProcessor(size={"height": 32, "width": 32})
    return Gemma3Processor(images, words, chat_template=GEMMA, image_seq_length=4)


def idefics2():
    from transformers import Idefics2ImageProcessor, Idefics2Processor

    images = Idefics2ImageProcessor(size={"shortest_edge": 28, "longest_edge": 56}, do_image_splitting=False)
    words = tokenizer("<image>", "<fake_token_around_image>", "<end_of_utterance>")
    return Idefics2Processor(images, words, image_seq_len=4, chat_template=chatml("<image>"))


def _idefics3_tokenizer():
    names = {
        "image_token": "<image>", "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>", "end_of_utterance_token": "<end_of_utterance>",
    }  # fmt: skip
    return tokenizer(*names.values(), names=names)


def idefics3():
    from transformers import Idefics3ImageProcessor, Idefics3Processor

    images = Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    return Idefics3Processor(images, _idefics3_tokenizer(), image_seq_len=4, chat_template=chatml("<image>"))


def internvl():
    from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    names = {
        "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }  # fmt: skip
    images = GotOcr2ImageProcessor(size={"height": 28, "width": 28}, crop_to_patches=False)
    return InternVLProcessor(
        images, tokenizer(*names.values(), names=names), InternVLVideoProcessor(), image_seq_length=4,
        chat_template=chatml("<IMG_CONTEXT>"),
    )  # fmt: skip


def pixtral():
    from transformers import PixtralImageProcessor, PixtralProcessor

    images = PixtralImageProcessor(size={"longest_edge": 32}, patch_size={"height": 16, "width": 16})
    words = tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]", "</s>", eos_token="</s>")
    return PixtralProcessor(images, words, patch_size=16, chat_template=INST.replace("IMAGE", "[IMG]"))


def mllama():
    from transformers import MllamaImageProcessor, MllamaProcessor

    names = {"image_token": "<|image|>"}
    images = MllamaImageProcessor(size={"height": 28, "width": 28}, max_image_tiles=1)
    words = tokenizer("<|image|>", "<|bos|>", names=names, bos_token="<|bos|>")
    return MllamaProcessor(images, words, chat_template="{{ bos_token }}" + chatml("<|image|>"))


def aya_vision():
    from transformers import AyaVisionProcessor, GotOcr2ImageProcessor

    images = GotOcr2ImageProcessor(size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=2)
    special = ("<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE",
               "TILE_GLOBAL")  # fmt: skip
    return AyaVisionProcessor(images, tokenizer(*special), patch_size=16, img_size=32, chat_template=chatml("<image>"))


GOOD = {
    family.__name__: family
    for family in (
        llava_next, llava_onevision, qwen2_5_vl, qwen3_vl, gemma3, idefics3, internvl, pixtral, mllama, aya_vision
    )
}  # fmt: skip


def llava_1_5():
    from tests.finetune.toys import build_processor

    return build_processor()


def paligemma():
    from transformers import PaliGemmaProcessor, SiglipImageProcessor

    images = SiglipImageProcessor(size={"height": 32, "width": 32}, image_seq_length=4)
    words = tokenizer(
        "<image>", "<bos>", "<eos>", bos_token="<bos>", eos_token="<eos>", names={"image_token": "<image>"}
    )
    return PaliGemmaProcessor(images, words)


def smolvlm():
    """SmolVLM's processor is Idefics3's with videos; that one would need num2words."""
    return idefics3()
