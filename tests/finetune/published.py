"""Processors with the image settings that the families publish; tokenizers and templates are the tests' own."""

from __future__ import annotations

from tests.finetune import families
from tests.finetune.families import tokenizer


def qwen2_5_vl():
    processor = families.qwen2_5_vl()
    processor.image_processor = _qwen_images(14, 56 * 56, 16384 * 28 * 28)
    return processor


def qwen3_vl():
    processor = families.qwen3_vl()
    processor.image_processor = _qwen_images(16, 65536, 16777216)
    return processor


def _qwen_images(patch: int, least: int, most: int):
    from transformers import Qwen2VLImageProcessor

    return Qwen2VLImageProcessor(patch_size=patch, size={"shortest_edge": least, "longest_edge": most})


def internvl():
    from transformers import GotOcr2ImageProcessor

    processor = families.internvl()
    side = {"height": 448, "width": 448}
    processor.image_processor = GotOcr2ImageProcessor(size=side, min_patches=1, max_patches=12)
    processor.image_seq_length = 256
    return processor


def llava_onevision():
    from transformers import LlavaOnevisionImageProcessor

    processor = families.llava_onevision()
    processor.image_processor = LlavaOnevisionImageProcessor()  # 384 pixels, 36 grids
    processor.num_image_tokens = 729
    return processor


def smolvlm():
    from transformers import SmolVLMImageProcessor

    processor = families.smolvlm()
    processor.image_processor = SmolVLMImageProcessor(
        size={"longest_edge": 4 * 384}, max_image_size={"longest_edge": 384}
    )
    processor.image_seq_len = 81
    return processor


def gemma3():
    from transformers import Gemma3ImageProcessor, Gemma3Processor

    tiny = families.gemma3()
    images = Gemma3ImageProcessor(size={"height": 896, "width": 896})
    return Gemma3Processor(images, tiny.tokenizer, chat_template=tiny.chat_template, image_seq_length=256)


def paligemma(side: int = 448):
    from transformers import PaliGemmaProcessor, SiglipImageProcessor

    tokens = (side // 14) ** 2
    images = SiglipImageProcessor(size={"height": side, "width": side}, image_seq_length=tokens)
    return PaliGemmaProcessor(images, families.paligemma().tokenizer)


def llava_1_5():
    from transformers import CLIPImageProcessor, LlavaProcessor

    images = CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    return LlavaProcessor(
        images, tokenizer("<image>"), patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=families.chatml("<image>"),
    )  # fmt: skip
