"""Every example that `curate sources` prints, run on files in the layout in which the dataset is published."""

import pytest
import yaml

from curate.readers import LAYOUTS, detect, open_source
from curate.readers.base import is_file
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, noise, write
from tests.curate.readers import published
from tests.curate.readers.layouts.test_source_containers import packed
from winnow.rows.records import Sample, to_original

JPEG = encoded(noise(24, 16), "JPEG")


def table(folder):
    import pandas

    rows = {"image": ["a.jpg"], "question": ["What is it?"], "label": ["a cat"]}
    folder.mkdir(exist_ok=True)
    pandas.DataFrame(rows).to_parquet(folder / "train-00000-of-00001.parquet")


def internvl(folder):
    published.save_lines(folder / "data" / "chat.jsonl", published.LLAVA_ROWS[:1])
    entry = {"root": "data/", "annotation": "data/chat.jsonl", "data_augment": False, "repeat_time": 1, "length": 1}
    published.save(folder.parent / "internvl_1_2_finetune.json", {"sharegpt4v": entry})


# Of each layout: what makes its files, the folder that the example expects them in, and one image of its first row.
PUBLISHED = {
    "amber": (published.amber, "AMBER", "AMBER/image/AMBER_1.jpg"),
    "chartqa": (published.chartqa, "ChartQA Dataset", "ChartQA Dataset/val/png/41699051005347.png"),
    "coco_captions": (published.coco_captions, ".", "val2014/COCO_val2014_000000391895.jpg"),
    "conversations": (
        lambda folder: published.save(folder / "llava_v1_5_mix665k.json", published.LLAVA_ROWS), ".",
        "llava/images/coco/train2017/000000033471.jpg",
    ),
    "docvqa": (published.docvqa, "docvqa", "docvqa/spdocvqa_images/xnbl0037_1.png"),
    "easy_vqa": (lambda folder: None, ".", ""),  # the package itself
    "flickr": (published.flickr_tokens, "flickr30k", "flickr30k/flickr30k-images/1000092795.jpg"),
    "gqa": (published.gqa, "gqa", "gqa/images/2354786.jpg"),
    "hub": (published.chartqa_of_the_hub, "HuggingFaceM4/ChartQA", ""),  # a folder of that name in the hub's place
    "image_folder": (lambda folder: None, ".", "my-images/a.jpg"),
    "internvl": (internvl, "internvl_chat", "internvl_chat/data/coco/train2017/000000033471.jpg"),
    "karpathy": (published.karpathy_flickr30k, "karpathy", "flickr30k-images/1000092795.jpg"),
    "mme": (published.mme, "MME_Benchmark_release_version/MME_Benchmark", ""),
    "mmmu": (published.mmmu, "MMMU", ""),
    "pope": (published.pope, "pope/output/coco", "coco/val2014/COCO_val2014_000000310196.jpg"),
    "refcoco": (published.refcoco, "data/raw/refcoco/data", ""),
    "scienceqa": (published.scienceqa, "scienceqa", "scienceqa/images/val/2/image.png"),
    "table": (table, "data", "data/a.jpg"),
    "textvqa": (published.textvqa, "textvqa", "textvqa/train_images/0054c91397f2fe05.jpg"),
    "vizwiz": (published.vizwiz, "vizwiz", "vizwiz/val/VizWiz_val_00000001.jpg"),
    "vlmevalkit": (published.vlmevalkit, "data/raw/mmbench", ""),
    "vqa": (published.vqa_v2, "vqa", "vqa/val2014/COCO_val2014_000000262148.jpg"),
    "webdataset": (
        lambda folder: write(folder / "train-000000.tar", packed([("1.jpg", JPEG), ("1.txt", b"a cat")])), "shards", "",
    ),
}  # fmt: skip


def test_there_is_a_published_form_for_every_layout():
    assert PUBLISHED.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("layout", PUBLISHED)
def test_the_example_of_a_layout_is_read_with_its_images(tmp_path, monkeypatch, layout):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    make, folder, image = PUBLISHED[layout]
    make(tmp_path / folder)
    if image:
        write(tmp_path / image, JPEG)
    settings = SourceSettings.model_validate(yaml.safe_load(LAYOUTS[layout].example))
    source = open_source(settings)
    rows = list(source.rows())
    assert (detect(settings.location), source.layout) == (layout, layout)
    assert all(isinstance(row, Sample) for row in rows)
    assert rows[0].question
    assert rows[0].answer or layout in ("image_folder",)
    shown = rows[0].image
    if layout == "scienceqa":
        assert shown == ()  # its first problem of the split has no image, as half of them
    else:
        assert shown
        assert all(path in rows[0].embedded or is_file(source.image_root, path) for path in shown)


def test_the_folder_of_a_release_leads_to_its_categories(tmp_path):
    published.mme(tmp_path / "release" / "MME_Benchmark")
    write(tmp_path / "release" / "eval_tool" / "readme.txt", b"Yes\n")
    source = open_source(SourceSettings(location=str(tmp_path / "release")))
    assert source.layout == "mme"
    assert [row.id for row in source.rows()] == [
        "mme/artwork/10002/0", "mme/code_reasoning/0001/0", "mme/code_reasoning/0001/1",
    ]  # fmt: skip


@pytest.mark.parametrize("row", published.MS_SWIFT_ROWS)
def test_rows_of_ms_swift_come_back_whole(tmp_path, row):
    path = published.save_lines(tmp_path / "swift.jsonl", [row])
    (sample,) = open_source(SourceSettings(location=str(path))).rows()
    assert to_original(sample) == row


def test_question_and_answer_files_of_llava(tmp_path):
    questions = published.save_lines(tmp_path / "qa90_questions.jsonl", [published.LLAVA_QUESTION])
    answered = published.save_lines(tmp_path / "qa_30x3.jsonl", [published.LLAVA_ANSWERED])
    (asked,) = open_source(SourceSettings(location=str(questions))).rows()
    assert (asked.question, asked.answer) == ("What color are the suitcases?", "")
    (whole,) = open_source(SourceSettings(location=str(answered))).rows()
    assert (whole.question, whole.answer) == ("Where is the skateboard?", "It lies upside down.")
    assert whole.image == ("COCO_val2014_000000525439.jpg",)
