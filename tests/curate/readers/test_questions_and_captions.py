"""What a row of a table asks: nothing is asked that it does not say, and an answer stays text."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.readers import open_source
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, write
from tests.curate.sets import scene
from winnow.errors import UserError
from winnow.rows.records import BadRow


def table(tmp_path, *rows, **options):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return list(open_source(SourceSettings(location=str(path), **options)).rows())


def test_an_answer_that_looks_like_a_list_is_a_text(tmp_path):
    box, real, votes, mixed, several = table(
        tmp_path,
        {"question": "Where?", "answer": "[10, 20, 30, 40]"},
        {"question": "Where?", "answer": [10, 20, 30, 40]},
        {"question": "Where?", "answers": '["here", "there", "there"]'},
        {"question": "Where?", "answer": "['a', 'b']"},
        {"question": "Where?", "answer": ["here", "there"]},
    )
    assert (box.answer, box.answers) == ("[10, 20, 30, 40]", ("[10, 20, 30, 40]",))
    assert (real.answer, real.meta["answer"]) == ("[10, 20, 30, 40]", [10, 20, 30, 40])
    assert (votes.answer, votes.answers) == ("there", ("here", "there", "there"))
    assert mixed.answer == "['a', 'b']"
    assert (several.answer, several.answers) == ("here", ("here", "there"))


def test_a_text_beside_a_question_id_or_an_answer_is_a_question(tmp_path):
    row = {"image": "a.jpg", "text": "What is it?"}
    asked, answered, caption = table(tmp_path, {**row, "question_id": 1}, {**row, "answer": "a disc"}, row)
    assert (asked.question, asked.answers) == ("What is it?", ())
    assert (answered.question, answered.answer) == ("What is it?", "a disc")
    assert (caption.question, caption.answer) == ("Describe the image.", "What is it?")


def test_a_text_without_an_image_is_no_caption(tmp_path):
    (bad,) = table(tmp_path, {"text": "A paragraph of a text corpus.", "url": "https://example.org/page"})
    assert isinstance(bad, BadRow) and bad.reason == "text without an image or a question"


def test_a_question_without_an_answer_is_unanswered(tmp_path):
    (row,) = table(tmp_path, {"image": "a.jpg", "question": "What?", "reply_of": "nobody"})
    assert (row.question, row.answers, len(row.conversations)) == ("What?", (), 1)
    assert row.unclaimed == ("reply_of",)


def test_the_question_for_captions_is_said_and_can_be_changed(tmp_path):
    row = {"image": "a.jpg", "caption": "a disc"}
    (said,) = table(tmp_path, row)
    assert said.notes == (
        "captions have no question and get 'Describe the image.'; `caption_prompt` (or --caption-prompt) changes it",
    )
    (changed,) = table(tmp_path, row, caption_prompt="Write a caption.")
    assert changed.question == "Write a caption." and "'Write a caption.'" in changed.notes[0]
    (own,) = table(tmp_path, {**row, "question": "What is it?"})
    assert (own.question, own.answer, own.notes) == ("What is it?", "a disc", ())


def test_captions_of_videos_need_a_question_from_the_recipe(tmp_path):
    row = {"video": "v.mp4", "caption": "a ball falls"}
    (bad,) = table(tmp_path, row)
    assert isinstance(bad, BadRow)
    (asked,) = table(tmp_path, row, caption_prompt="<video>Describe the video.")
    assert (asked.conversations[0].value, asked.answer) == ("<video>Describe the video.", "a ball falls")
    assert asked.meta == {"videos": ["v.mp4"]}


def test_the_question_for_captions_in_published_layouts(tmp_path):
    coco = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"id": 1, "image_id": 1, "caption": "x"}]}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    (tmp_path / "flickr.token").write_text("1.jpg#0\tA disc .\n")
    write(tmp_path / "images" / "1.png", encoded(scene(1)))
    for name in ("coco.json", "flickr.token", "images"):
        opened = open_source(SourceSettings(location=str(tmp_path / name), caption_prompt="Caption?"))
        (row,) = opened.rows()
        assert row.question == "Caption?" and "'Caption?'" in row.notes[0]


def test_several_caption_columns_are_references(tmp_path):
    row = {"image": "a.jpg", "caption_1": "one", "caption_0": "zero", "caption_2": "", "caption_10": "ten"}
    (sample,) = table(tmp_path, row)
    assert (sample.answer, sample.answers) == ("zero", ("zero", "one", "ten"))
    assert sample.unclaimed == ()


def test_captions_as_pandas_writes_them(tmp_path):
    (tmp_path / "c.csv").write_text("image,captions\na.jpg,\"['a', 'b']\"\n")
    (row,) = open_source(SourceSettings(location=str(tmp_path / "c.csv"))).rows()
    assert row.answers == ("a", "b")


def test_classes_are_answers_of_images_without_texts(tmp_path):
    labelled, numbered, several = table(
        tmp_path,
        {"image": "a.jpg", "label": "cat"},
        {"image": "a.jpg", "class": 3},
        {"image": "a.jpg", "labels": ["x", "y"]},
    )
    assert (labelled.question, labelled.answer) == ("What is shown in the image?", "cat")
    assert labelled.meta == {}
    assert (numbered.answer, numbered.meta["class"]) == ("3", 3)
    assert several.answer == "x, y"
    assert "'What is shown in the image?'" in labelled.notes[0]


def test_a_label_beside_a_question_is_its_answer(tmp_path):
    row = {"image": "a.jpg", "question": "q", "label": "cat", "category": "animals"}
    (sample,) = table(tmp_path, row)
    assert (sample.question, sample.answer, sample.unclaimed) == ("q", "cat", ("category",))


def test_classes_by_their_names_in_parquet(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": encoded(scene(number)), "path": None} for number in range(2)], "label": [1, 0]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    opened = open_source(SourceSettings(location=str(tmp_path / "a.parquet")))
    assert [(row.question, row.answer) for row in opened.rows()] == [
        ("What is shown in the image?", "dog"), ("What is shown in the image?", "cat"),
    ]  # fmt: skip


def test_images_of_parquet_without_a_class(tmp_path):
    image = {"bytes": encoded(scene(1)), "path": None}
    pq.write_table(pa.Table.from_pylist([{"photo": image, "label": "cat"}]), tmp_path / "a.parquet")
    (row,) = open_source(SourceSettings(location=str(tmp_path / "a.parquet"))).rows()
    assert row.answer == "cat" and list(row.embedded.values()) == [image["bytes"]]


def test_column_names_in_any_case_and_with_blanks(tmp_path):
    row = {"Image Path": "a.jpg", " Question ": "q", "Gt-Answer": "a", "Note": "n"}
    (sample,) = table(tmp_path, row)
    assert (sample.image, sample.question, sample.answer) == (("a.jpg",), "q", "a")
    assert (sample.meta, sample.unclaimed) == ({"Note": "n"}, ("Note",))


def test_empty_cells_are_no_answers_and_are_not_reported(tmp_path):
    nan = float("nan")
    (row,) = table(tmp_path, {"image": None, "question": "q", "answer": nan, "caption": "", "score": nan, "more": None})
    assert (row.image, row.answers, row.unclaimed) == ((), (), ())
    assert row.meta.keys() == {"caption", "score", "more"}


def test_numbers_and_truth_values_become_text_and_keep_their_type(tmp_path):
    whole, real, true = table(
        tmp_path, {"question": "q", "answer": 3}, {"question": "q", "answer": 3.5}, {"question": "q", "answer": True}
    )
    assert (whole.answer, real.answer, true.answer) == ("3", "3.5", "True")
    assert (whole.meta, real.meta, true.meta) == ({"answer": 3}, {"answer": 3.5}, {"answer": True})


def test_answers_of_squad(tmp_path):
    answers = {"text": ["in 1905", "1905"], "answer_start": [3, 6]}
    (row,) = table(tmp_path, {"context": "It was in 1905.", "question": "When?", "answers": answers})
    assert (row.question, row.answers) == ("Context: It was in 1905.\nWhen?", ("in 1905", "1905"))
    assert row.meta == {"answers": answers, "context": "It was in 1905.", "original_question": "When?"}


def test_the_second_column_of_a_role_is_named(tmp_path):
    (row,) = table(tmp_path, {"image": "a.jpg", "mask": "b.jpg", "question": "q", "answer": "a", "output": "b"})
    assert (row.image, row.answer) == (("a.jpg",), "a")
    assert row.unclaimed == ("mask", "output")
    assert row.meta == {"mask": "b.jpg", "output": "b"}


def test_a_role_can_be_left_without_a_column(tmp_path):
    row = {"image": "a.jpg", "question": "q", "answer": "a", "context": "c", "answers": ["b"]}
    (sample,) = table(tmp_path, row, columns={"context": "none", "answers": "none", "image": "none"})
    assert (sample.image, sample.question, sample.answers) == ((), "q", ("a",))
    assert sample.unclaimed == ("image", "context", "answers")


@pytest.mark.parametrize("row", [{"image": "a.jpg", "answer": "a"}, {"image": "a.jpg", "question": " ", "answer": "a"}])
def test_an_answer_without_a_question_is_a_bad_row(tmp_path, row):
    (bad,) = table(tmp_path, row)
    assert isinstance(bad, BadRow) and bad.reason == "no question"


def test_a_table_with_neither_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no column with answers, captions or questions among image, ask, say"):
        table(tmp_path, {"image": "a.jpg", "ask": "q", "say": "a"})


@pytest.mark.parametrize("cell", [{"red": 3, "blue": 1}, [{"colour": "red"}]])
def test_objects_without_a_text_are_no_answers(tmp_path, cell):
    (row,) = table(tmp_path, {"question": "q", "answers": cell})
    assert row.reason.startswith("an answer is an object without any of answer, caption")


def test_labels_of_completions_are_no_answers(tmp_path):
    (row,) = table(tmp_path, {"prompt": "q", "completions": ["a", "b"], "labels": [True, False]})
    assert row.answers == () and row.unclaimed == ("completions", "labels")


def test_numbers_of_classes_are_said(tmp_path):
    for value, what in ((3, "numbers of classes without names"), ("cat", "classes")):
        (row,) = table(tmp_path, {"image": "a.png", "label": value})
        assert row.notes == (f"{what} have no question and get 'What is shown in the image?'",)


def test_images_that_a_question_names_by_tag_or_number(tmp_path):
    tag = {"question": "<img>b.png</img>q", "answer": "a"}
    (row,) = table(tmp_path, tag)
    assert (row.image, row.question, row.conversations[0].value) == (("b.png",), "q", "<image>q")
    both = {"images": ["a.png", "b.png"], "question": "<image 2> or <image 1>?", "answer": "the first"}
    (row,) = table(tmp_path, both)
    assert (row.image, row.conversations[0].value) == (("b.png", "a.png"), "<image> or <image>?")


def test_a_question_of_another_type_says_so(tmp_path):
    (row,) = table(tmp_path, {"question": ["q", "r"], "answer": "a"})
    assert row.reason == "the question is no text"


def test_nesting_of_900_costs_no_row(tmp_path):
    deep = []
    for _ in range(899):
        deep = [deep]
    for image in ("a.png", "data:image/png;base64,iVBORw0KGgo="):
        (row,) = table(tmp_path, {"image": image, "question": "q", "answer": "a", "deep": deep})
        assert row.answer == "a" and "deep" in row.meta


def test_a_list_of_different_answers_is_named_because_it_may_be_a_ranking(tmp_path):
    ranked, alike = table(
        tmp_path, *({"instruction": "q", "output": output} for output in (["good", "bad"], ["a", "a"]))
    )
    assert ranked.answers == ("good", "bad") and "references that are all right" in ranked.notes[0]
    assert alike.notes == ()


def test_an_empty_location_is_not_this_folder():
    with pytest.raises(UserError, match="the location is empty"):
        open_source(SourceSettings(location=" "))
