"""Rows with videos and sounds: the frames that are taken, what is trained, what they cost, what is rejected."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from finetune.data.chat import TrainingConversation, join_rows, normalized_text
from finetune.data.collate import Collator, check_masks
from finetune.data.preflight import check_rows
from finetune.data.rows import open_sets
from tests.finetune import families
from tests.finetune.toys import build_processor, record, write_rows
from tests.finetune.videos import AUDIO, VIDEO, write_sound, write_video
from winnow.rows.records import Turn
from winnow.vlm.inputs import InputSettings

SETTINGS = InputSettings(max_frames=6, max_pixels=2000)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    write_video(folder / "long.mp4", 20)
    write_video(folder / "short.mp4", 3, size=(32, 64))
    write_video(folder / "slow.mp4", 12, fps=1)
    write_sound(folder / "short.wav", 0.4)
    write_sound(folder / "long.wav", 1.3, rate=16000)
    write_sound(folder / "endless.wav", 40)
    for number in range(4):
        Image.new("RGB", (40, 30), (60 * number, 0, 0)).save(folder / f"{number}.png")
    (folder / "text.mp4").write_text("no video")
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n")
    (folder / "cut.mp4").write_bytes((folder / "long.mp4").read_bytes()[:900])
    return folder


def row(number: int, *turns: tuple[str, str], image: str | None = None, **meta) -> dict:
    made = record(number, image, "q", "a", meta=meta)
    made["conversations"] = [
        {"from": role, "value": text} for pair in turns for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return made


GOOD = [
    row(0, ("<video>\nwhat happens?", "it gets brighter"), videos=["long.mp4"]),
    row(1, ("what happens?", "nothing"), ("sure?", "a red square"), videos=["short.mp4"]),
    row(2, ("<video>first", "yes"), ("and <video> now?", "no"), videos=["slow.mp4", "long.mp4"]),
    row(3, ("<video>red?", "yes"), videos=[["0.png", "1.png", "2.png", "3.png"]]),
    row(4, ("is it red?", "no")),
]
MIXED = [
    row(5, ("<image> or <video>?", "the second"), image="1.png", videos=["long.mp4"]),
    row(6, ("<image>red?", "no"), image="2.png"),
]
BAD = {
    "text.mp4": "unreadable", "list.mp4": "unreadable", "cut.mp4": "unreadable", "missing.mp4": "missing",
    "../long.mp4": "outside_root", "0.png": "unreadable", "http://x/a.mp4": "remote_off",
}  # fmt: skip


def checked(folder, root, records, processor, **changes):
    rows = open_sets({"": write_rows(folder / "rows.jsonl", records)}, root)
    options = {
        "settings": SETTINGS, "max_length": 1000, "max_reject": 1.0, "sample_answers": False, "workers": 0, **changes
    }  # fmt: skip
    found = check_rows(rows, processor, rejects=folder / "rejects.jsonl", **options)
    return rows, found, [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("family", VIDEO)
def test_answers_to_videos_are_trained_and_their_tokens_counted(family, root, tmp_path):
    processor = VIDEO[family]()
    records = GOOD if family == "smolvlm" else [*GOOD, *MIXED]
    rows, found, rejects = checked(tmp_path, root, records, processor)
    assert rejects == []
    # SmolVLM writes words beside the frames, whose end can share a token with the question.
    assert_trained_and_counted(processor, rows, found, slack=1 if family == "smolvlm" else 0)


def assert_trained_and_counted(processor, rows, found, slack=0):
    """In one batch of all rows the labels are the answers; pre-flight counted what the batch holds."""
    talks = [join_rows([rows[number]], [number]) for number in range(len(rows))]
    collator = Collator(processor, rows.image_root, SETTINGS)
    decode, stop = processor.tokenizer.decode, processor.tokenizer.eos_token
    batch = collator(talks)
    for owners, labels, talk in zip(batch["owners"], batch["labels"], talks, strict=True):
        wanted = [turn.value for turn in talk.turns if turn.role == "assistant"]
        kept = [decode(labels[owners == answer]) for answer in sorted(set(owners.tolist()) - {-1})]
        assert list(map(normalized_text, kept)) == [normalized_text(f"{answer}{stop}") for answer in wanted]
    assert check_masks(collator, talks).stops
    counted = {talk.rows[0]: int(mask.sum()) for talk, mask in zip(talks, batch["attention_mask"], strict=True)}
    for number, tokens in enumerate(found.accepted.tokens.tolist()):
        assert 0 <= tokens - counted[number] <= slack


@pytest.mark.parametrize("family", AUDIO)
def test_answers_to_sounds_are_trained_and_their_tokens_counted(family, root, tmp_path):
    records = [
        row(0, ("<audio>\nwhat is said?", "a red square"), audios=["short.wav"]),
        row(1, ("what is said?", "no"), ("and <image>?", "yes"), image="1.png", audios=["long.wav"]),
        row(2, ("<audio>first", "yes"), ("and <audio> now?", "no"), audios=["long.wav", "short.wav"]),
        row(3, ("is it red?", "no")),
    ]
    processor = AUDIO[family]()
    rows, found, rejects = checked(tmp_path, root, records, processor)
    assert rejects == []
    assert_trained_and_counted(processor, rows, found)
    bad = [
        row(10, ("<audio>a?", "b"), audios=["long.mp4"]), row(11, ("<audio>a?", "b"), audios=["endless.wav"]),
        row(12, ("<audio>a?", "b"), audios=["text.mp4"]),
    ]  # fmt: skip
    _, _, rejects = checked(tmp_path, root, [*records, *bad], processor)
    assert [(line["reason"], line["detail"].split()[1]) for line in rejects] == [
        ("media", "not_a_sound"), ("media", "too_long"), ("media", "unreadable")
    ]  # fmt: skip


def test_processors_without_sounds_are_named(root, tmp_path):
    record = row(9, ("<audio>a?", "b"), audios=["short.wav"])
    _, _, rejects = checked(tmp_path, root, [record, GOOD[0]], VIDEO["qwen3_vl"]())
    assert rejects[0]["detail"] == "Qwen3VLProcessor takes no audio"


def test_frame_times_are_those_of_the_file(root):
    """12 frames at 1 per second, of which 6 are taken: 2 seconds apart, two frames to a patch."""
    for family, key in (("qwen2_5_vl", "second_per_grid_ts"), ("qwen2_5_omni", "video_second_per_grid")):
        collator = Collator(VIDEO[family](), root, SETTINGS)
        talk = TrainingConversation((Turn("user", "<video>a"), Turn("assistant", "b")), (), (0,), videos=("slow.mp4",))
        assert collator([talk])[key].tolist() == pytest.approx([4.0])


def test_batches_that_lose_images_are_not_made(root, tmp_path):
    """SmolVLM's processor returns one kind of pixels only."""
    _, found, rejects = checked(tmp_path, root, [*GOOD, *MIXED], VIDEO["smolvlm"]())
    assert {line["reason"] for line in rejects} == {"not_only_images"}
    assert "loses the images of a batch" in rejects[0]["detail"]
    assert found.accepted.row.tolist() == [4, 6]


@pytest.mark.parametrize(
    ("processor", "words"),
    [
        (build_processor, "LlavaProcessor takes no video"),
        (families.qwen2_5_vl, "chat template of Qwen2_5_VLProcessor has no place for video"),
    ],
)
def test_processors_without_videos_are_named(root, tmp_path, processor, words):
    _, found, rejects = checked(tmp_path, root, [*GOOD, *MIXED], processor())
    assert found.accepted.row.tolist() == [4, 6]
    assert all(line["reason"] == "not_only_images" and words in line["detail"] for line in rejects)


def test_bad_videos_cost_their_rows(root, tmp_path):
    records = [row(10 + n, ("<video>red?", "yes"), videos=[name]) for n, name in enumerate(BAD)]
    records += [
        row(30, ("<video>red?", "yes"), videos="long.mp4"), row(31, ("<video>red?", "yes"), videos=[3]),
        row(32, ("<video><video>red?", "yes"), videos=["long.mp4"]), row(33, ("<video>red?", "yes")),
        row(34, ("<video>red?", "yes"), videos=[["0.png", "missing.png"]]),
    ]  # fmt: skip
    _, _, rejects = checked(tmp_path, root, [*GOOD, *records], VIDEO["qwen2_5_vl"](), workers=2)
    assert [(line["reason"], line["detail"].split()[1]) for line in rejects[: len(BAD)]] == [
        ("media", why) for why in BAD.values()
    ]
    assert [line["reason"] for line in rejects[len(BAD) :]] == [
        "not_only_images", "not_only_images", "markers_do_not_match", "unresolved_marker", "media"
    ]  # fmt: skip


def test_max_frames_and_max_pixels_bound_the_cost(root, tmp_path):
    processor = VIDEO["qwen3_vl"]()

    def cost(**settings):
        return checked(tmp_path, root, GOOD[:1], processor, settings=InputSettings(**settings))[1].accepted.tokens[0]

    assert cost(max_frames=2) < cost(max_frames=4) < cost(max_frames=8)
    _, found, rejects = checked(tmp_path, root, GOOD, processor, max_length=60)
    assert {line["reason"] for line in rejects} == {"too_long"} and len(found.accepted.row)


def test_a_text_that_cannot_share_a_batch_with_images_is_rejected(root, tmp_path):
    """Mllama's processor fails where the first text of a batch has no image."""
    image, text = MIXED[1], GOOD[4]
    _, found, rejects = checked(tmp_path, root, [text, image], families.mllama())
    assert found.accepted.row.tolist() == [1] and "text before an image" in rejects[0]["detail"]
    assert checked(tmp_path, root, [text], families.mllama())[2] == []
