"""Caption sets, MME and MMMU in their published layouts."""

import json

import pytest

from curate.readers import open_source
from curate.readers.images.store import content_path
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, shape, write
from tests.curate.readers import published
from tests.curate.sets import scene
from winnow.rows.records import BadRow, Sample

JPEG, PNG = encoded(scene(1), "JPEG"), encoded(scene(2))


def opened(location, **options):
    return open_source(SourceSettings(location=str(location), **options))


def test_coco_captions_are_one_row_an_image_with_every_caption(tmp_path):
    images = [published.coco_image(391895), published.coco_image(60623), published.coco_image(7)]
    annotations = [
        {"image_id": 60623, "id": 10, "caption": "A young girl."},
        {"image_id": 391895, "id": 770337, "caption": "A man with a red helmet on a small moped. "},
        {"image_id": 60623, "id": 11, "caption": "A woman.", "is_rejected": False},
        {"image_id": 391895, "id": 771687, "caption": "Man riding a motor bike."},
        {"image_id": 999, "id": 12, "caption": "of nothing"},
        {"image_id": 7, "id": 13},
    ]
    write(tmp_path / "val2014" / "COCO_val2014_000000391895.jpg", shape())
    source = opened(published.coco_captions(tmp_path, images, annotations))
    first, second, third, *bad = source.rows()
    assert (source.layout, source.image_root) == ("coco_captions", tmp_path / "val2014")
    assert first.id == "coco_captions/val/391895"
    assert first.image == ("COCO_val2014_000000391895.jpg",)
    assert first.answers == ("A man with a red helmet on a small moped. ", "Man riding a motor bike.")
    assert first.meta["caption_ids"] == [770337, 771687]
    assert (first.meta["flickr_url"], first.meta["id"]) == ("http://farm.x/1.jpg", 391895)
    assert second.meta["annotations"][1]["is_rejected"] is False
    assert (third.answers, len(third.conversations)) == ((), 1)
    assert [(type(row), row.position) for row in bad] == [(BadRow, 3), (BadRow, 4)]
    assert {row.reason for row in bad} == {"no text 'caption'", "image_id 999 is not among the images"}


def test_coco_test_images_have_no_captions(tmp_path):
    path = published.coco_captions(tmp_path, [published.coco_image(1)], [])
    whole = json.loads(path.read_text())
    del whole["annotations"]
    path.write_text(json.dumps(whole))
    (row,) = opened(path, layout="coco_captions", split="test").rows()
    assert (row.id, row.answer) == ("coco_captions/test/1", "")


TOKEN = (
    "1000092795.jpg#0\tTwo young guys with shaggy hair look at their hands .\n"
    "1000092795.jpg#1\tTwo young , White males are outside near many bushes .\n"
    "10002456.jpg#0\tSeveral men in hard hats are operating a giant pulley system .\n"
    "2258277193_586949ec62.jpg.1#0\tpeople waiting\n"
)
BARS = (
    "image_name| comment_number| comment\n"
    "1000092795.jpg| 0| Two young guys with shaggy hair look at their hands .\n"
    "1000092795.jpg| 1| Two young , White males are outside near many bushes .\n"
    "2199200615.jpg| 4   A dog runs across the grass .\n"
    "10002456.jpg\n"
)
COMMAS = (
    "image,caption\n"
    "1000268201_693b08cb0e.jpg,A child in a pink dress .\n"
    '1000268201_693b08cb0e.jpg,"A girl, smiling"\n'
    "1001773457_577c3a7d70.jpg,A dog, running\n"
)


@pytest.mark.parametrize(
    ("name", "text", "images", "second", "bad"),
    [
        ("results_20130124.token", TOKEN, ["1000092795.jpg", "10002456.jpg", "2258277193_586949ec62.jpg.1"],
         "Several men in hard hats are operating a giant pulley system .", 0),
        ("results.csv", BARS, ["1000092795.jpg", "2199200615.jpg"], "A dog runs across the grass .", 1),
        ("captions.txt", COMMAS, ["1000268201_693b08cb0e.jpg", "1001773457_577c3a7d70.jpg"], "A dog, running", 0),
    ],
)  # fmt: skip
def test_flickr_in_its_three_forms(tmp_path, name, text, images, second, bad):
    path = tmp_path / "flickr30k" / name
    write(path, text.encode())
    write(path.parent / "flickr30k_images" / images[0], shape())
    source = opened(path)
    rows = list(source.rows())
    good = [row for row in rows if isinstance(row, Sample)]
    assert (source.layout, source.image_root) == ("flickr", path.parent / "flickr30k_images")
    assert [row.image for row in good] == [(image,) for image in images]
    assert good[0].id == f"flickr30k/{images[0]}"
    assert len(good[0].answers) == 2
    assert good[1].answers == (second,)
    assert len(rows) - len(good) == bad


def test_flickr_split_by_the_list_beside_it(tmp_path):
    write(tmp_path / "Flickr8k.token.txt", TOKEN.encode())
    write(tmp_path / "Flickr_8k.devImages.txt", b"10002456.jpg\n")
    (row,) = opened(tmp_path / "Flickr8k.token.txt", split="val", source="flickr8k").rows()
    assert row.id == "flickr8k/val/10002456.jpg"


def test_a_csv_of_images_and_captions_once_each_is_a_table(tmp_path):
    write(tmp_path / "a.csv", b"image,caption\na.jpg,x\nb.jpg,y\n")
    assert opened(tmp_path / "a.csv").layout == "table"


def test_karpathy_json_and_csv(tmp_path):
    sentences = [
        {"tokens": ["a", "dog"], "raw": "A dog.", "imgid": 0, "sentid": 0},
        {"tokens": ["dog"], "raw": "Dog", "imgid": 0, "sentid": 1},
    ]
    images = [
        {"filepath": "val2014", "sentids": [0, 1], "filename": "COCO_val2014_000000391895.jpg", "imgid": 0,
         "split": "test", "sentences": sentences, "cocoid": 391895},
        {"filepath": "train2014", "sentids": [2], "filename": "COCO_train2014_000000000009.jpg", "imgid": 1,
         "split": "restval", "sentences": sentences[:1], "cocoid": 9},
    ]  # fmt: skip
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps({"images": images, "dataset": "coco"}))
    source = opened(path)
    first, second = source.rows()
    assert source.layout == "karpathy"
    assert (first.id, first.split, first.answers) == ("coco/test/391895", "test", ("A dog.", "Dog"))
    assert first.image == ("val2014/COCO_val2014_000000391895.jpg",)
    assert first.meta["sentences"] == sentences
    assert second.id == "coco/restval/9"
    assert [row.id for row in opened(path, split="restval").rows()] == ["coco/restval/9"]
    table = tmp_path / "flickr_annotations_30k.csv"
    table.write_text('raw,sentids,split,filename,img_id\n"[""A dog."", ""Dog""]","[0, 1]",train,1000092795.jpg,0\n')
    source = opened(table)
    (row,) = source.rows()
    assert source.layout == "karpathy"
    assert (row.id, row.answers) == ("flickr30k/train/1000092795.jpg", ("A dog.", "Dog"))


def test_mme_in_both_flavours(tmp_path):
    code, art = tmp_path / "code_reasoning", tmp_path / "artwork"
    write(code / "0001.png", shape())
    write(code / "0001.txt", b"Is a c++ code shown? Please answer yes or no.\tYes\nIs it python?\tNo\n")
    write(art / "images" / "10002.jpg", JPEG)
    write(art / "questions_answers_YN" / "10002.txt", b"Does this artwork exist in water?\tNo\r\nno tab here\n")
    source = opened(tmp_path)
    rows = list(source.rows())
    assert (source.layout, source.image_root) == ("mme", tmp_path)
    art_row, bad, first, second = rows
    assert (art_row.id, art_row.image) == ("mme/artwork/10002/0", ("artwork/images/10002.jpg",))
    assert (first.id, first.answer) == ("mme/code_reasoning/0001/0", "Yes")
    assert (second.image, second.answers) == (("code_reasoning/0001.png",), ("No",))
    assert first.meta["category"] == "code_reasoning"
    assert isinstance(bad, BadRow) and (bad.position, bad.where) == (
        1,
        f"{art / 'questions_answers_YN' / '10002.txt'}:2",
    )
    assert [row.id for row in opened(code).rows()] == ["mme/code_reasoning/0001/0", "mme/code_reasoning/0001/1"]


def test_mmmu_markers_options_and_open_questions(tmp_path):
    rows = [
        published.mmmu_row(),
        published.mmmu_row(id="validation_Accounting_2", question="How much?", options="[]", answer="['1', '2']"),
        published.mmmu_row(id="validation_Accounting_3", question="Look: <image 3>", answer="?"),
        published.mmmu_row(id="validation_Accounting_4", answer="?"),
    ]
    published.mmmu(tmp_path, rows)
    published.mmmu(tmp_path, [published.mmmu_row(id="dev_Accounting_1")], "dev-00000-of-00001.parquet")
    one, two = content_path(JPEG), content_path(PNG)
    source = opened(tmp_path, split="validation")
    first, second, bad, fourth = source.rows()
    assert source.layout == "mmmu"
    assert first.id == "mmmu/validation/validation_Accounting_1"
    assert first.conversations[0].value == "<image> Which is it, <image>?\nA. $6\nB. <image>\nC. it's"
    assert first.image == (one, two, two)
    assert (first.answers, first.embedded) == (("B",), {one: JPEG, two: PNG})
    assert first.meta["options"] == rows[0]["options"]
    assert (second.image, second.answers) == ((one, two), ("1", "2"))
    assert second.conversations[0].value == "<image><image>\nHow much?"
    assert isinstance(bad, BadRow) and "image 3" in bad.reason
    assert (fourth.answers, len(fourth.conversations)) == ((), 1)
    assert next(row.split for row in opened(tmp_path).rows() if isinstance(row, Sample)) == "dev"
    by_pattern = opened(tmp_path / "*" / "validation-*.parquet")
    assert (by_pattern.layout, len(list(by_pattern.rows()))) == ("mmmu", 4)
