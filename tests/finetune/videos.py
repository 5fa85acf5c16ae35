"""Small videos and sounds, and processors of families whose templates take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.finetune import families


def write_video(path: Path, frames: int = 20, *, fps: int = 10, size: tuple[int, int] = (64, 48), codec: str = "mpeg4"):
    """A video that grows brighter: frame n is grey of the level 12 n."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt, stream.gop_size = "yuv420p", 6
        for number in range(frames):
            grey = np.full((size[1], size[0], 3), 12 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_sound(path: Path, seconds: float = 1.0, *, rate: int = 8000):
    """A tone of 440 Hz on two channels."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="stereo")
        tone = np.sin(np.arange(int(seconds * rate)) * 440 * 2 * np.pi / rate) * 20000
        frame = av.AudioFrame.from_ndarray(np.repeat(tone.astype(np.int16), 2)[None], format="s16", layout="stereo")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _with_video(processor, image: str, video: str):
    template = processor.chat_template
    assert image in template
    block = f"{{% elif b['type'] == 'video' %}}{video}{{% else %}}"
    processor.chat_template = template.replace("{% else %}{{ b['text'] }}", block + "{{ b['text'] }}")
    return processor


def _qwen(processor, edge: int):
    processor.video_processor.size = {"shortest_edge": edge * edge, "longest_edge": 16 * edge * edge}
    return _with_video(processor, "<|image_pad|>", "<|vision_start|><|video_pad|><|vision_end|>")


def qwen2_5_vl():
    return _qwen(families.qwen2_5_vl(), 56)


def qwen3_vl():
    processor = families.qwen3_vl()
    processor.video_processor.patch_size = 14  # as of its images and of the tiny model
    return _qwen(processor, 56)


def llava_onevision():
    processor = families.llava_onevision()
    processor.video_processor.size = {"height": 32, "width": 32}
    return _with_video(processor, "<image>", "<video>")


def internvl():
    processor = families.internvl()
    processor.video_processor.size = {"height": 28, "width": 28}
    return _with_video(processor, "<IMG_CONTEXT>", "<video>")


def smolvlm():
    from transformers import SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor
    from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

    names = {
        "image_token": "<image>", "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>", "end_of_utterance_token": "<end_of_utterance>", "video_token": "<video>",
    }  # fmt: skip
    images = SmolVLMImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    videos = SmolVLMVideoProcessor(
        size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, num_frames=64, fps=1,
        video_sampling={"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 64}},
    )  # fmt: skip
    words = families.tokenizer(*names.values(), names=names, eos_token="<end_of_utterance>")
    # Rows with videos are written by this template, whatever the processor's own is.
    return SmolVLMProcessor(images, words, videos, image_seq_len=4, chat_template=DEFAULT_CHAT_TEMPLATE)


def qwen2_5_omni():
    from transformers import (
        Qwen2_5OmniProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        WhisperFeatureExtractor,
    )

    names = {
        "image_token": "<|IMAGE|>", "audio_token": "<|AUDIO|>", "video_token": "<|VIDEO|>",
        "vision_bos_token": "<|vision_bos|>", "vision_eos_token": "<|vision_eos|>",
        "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
    }  # fmt: skip
    size = {"shortest_edge": 56 * 56, "longest_edge": 16 * 56 * 56}
    processor = Qwen2_5OmniProcessor(
        Qwen2VLImageProcessor(size=size), Qwen2VLVideoProcessor(size=size), WhisperFeatureExtractor(feature_size=16),
        families.tokenizer(*names.values(), names=names),
        chat_template=families.chatml("<|vision_bos|><|IMAGE|><|vision_eos|>"),
    )  # fmt: skip
    return _with_audio(_with_video(processor, "<|IMAGE|>", "<|vision_bos|><|VIDEO|><|vision_eos|>"),
                       "<|audio_bos|><|AUDIO|><|audio_eos|>")  # fmt: skip


def gemma3n():
    from transformers import Gemma3nAudioFeatureExtractor, Gemma3nProcessor, SiglipImageProcessor

    names = {
        "image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>",
        "audio_token": "<audio_soft_token>", "boa_token": "<start_of_audio>", "eoa_token": "<end_of_audio>",
    }  # fmt: skip
    words = families.tokenizer(
        *names.values(), "<start_of_turn>", "<end_of_turn>", "<bos>", names=names, bos_token="<bos>",
        eos_token="<end_of_turn>",
    )  # fmt: skip
    processor = Gemma3nProcessor(
        Gemma3nAudioFeatureExtractor(), SiglipImageProcessor(size={"height": 32, "width": 32}), words,
        chat_template=families.GEMMA.replace("<start_of_image>", "<image_soft_token>"), audio_seq_length=8,
        image_seq_length=4,
    )  # fmt: skip
    return _with_audio(processor, "<audio_soft_token>")


def _with_audio(processor, audio: str):
    block = f"{{% elif b['type'] == 'audio' %}}{audio}{{% else %}}{{{{ b['text']"
    processor.chat_template = processor.chat_template.replace("{% else %}{{ b['text']", block)
    return processor


AUDIO = {made.__name__: made for made in (gemma3n, qwen2_5_omni)}
VIDEO = {made.__name__: made for made in (qwen2_5_vl, qwen3_vl, qwen2_5_omni, llava_onevision, internvl, smolvlm)}
