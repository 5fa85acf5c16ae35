"""Every published layout: recognised, placed, lossless; test splits without answers are rows too."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.readers import LAYOUTS, detect, open_source, other_files
from curate.settings.sources import SourceSettings
from tests.curate.make_images import shape, write
from tests.curate.readers import published
from winnow.errors import UserError
from winnow.rows.records import BadRow, Sample, to_line


def rows_of(location, **options):
    rows = list(open_source(SourceSettings(location=str(location), **options)).rows())
    for row in rows:
        assert isinstance(row, BadRow) or json.loads(to_line(row))
    return rows


def asked(row):
    return [(turn.role, turn.value) for turn in row.conversations]


def without(row, *keys):
    return {key: value for key, value in row.items() if key not in keys}


def test_vqa_v2_keeps_ten_votes_and_places_coco_images(tmp_path):
    questions = published.vqa_v2(tmp_path)
    write(tmp_path / "val2014" / "COCO_val2014_000000262148.jpg", shape())
    first, second, third = rows_of(questions)
    assert detect(str(questions)) == "vqa"
    assert first.id == "vqa_v2/val/262148000"
    assert first.image == ("val2014/COCO_val2014_000000262148.jpg",)
    assert asked(first) == [("user", "Where is he looking?"), ("assistant", "down")]
    assert first.answers == tuple(vote["answer"] for vote in published.VQA_VOTES[0])
    assert (first.source, first.split) == ("vqa_v2", "val")
    assert second.answer == "spectating"  # five votes each: the first occurrence
    assert third.answers[1] == ""  # an empty vote is a vote
    for row, question, annotation in zip(
        (first, second, third), published.VQA_QUESTIONS, published.VQA_ANNOTATIONS, strict=True
    ):
        assert row.meta == {**annotation, **without(question, "question")}
        assert isinstance(row.meta["question_id"], int)
    assert other_files(SourceSettings(location=str(questions))) == [tmp_path / "v2_mscoco_val2014_annotations.json"]


def test_vqa_images_in_a_flat_folder_and_in_the_toolkits_folders(tmp_path):
    questions = published.vqa_v2(tmp_path / "vqa")
    write(tmp_path / "flat" / "COCO_val2014_000000393225.jpg", shape())
    opened = open_source(SourceSettings(location=str(questions), image_root=str(tmp_path / "flat")))
    assert next(opened.rows()).image == ("COCO_val2014_000000262148.jpg",)
    toolkit = tmp_path / "toolkit"
    questions = published.vqa_v2(toolkit / "Questions")
    annotations = toolkit / "Questions" / "v2_mscoco_val2014_annotations.json"
    (toolkit / "Annotations").mkdir()
    annotations.rename(toolkit / "Annotations" / annotations.name)
    write(toolkit / "Images" / "mscoco" / "val2014" / "COCO_val2014_000000262148.jpg", shape())
    opened = open_source(SourceSettings(location=str(questions)))
    assert opened.image_root == toolkit / "Images" / "mscoco"
    assert next(opened.rows()).answer == "down"


def test_vqa_may_be_given_by_its_annotations_or_with_another_name(tmp_path):
    questions = published.vqa_v2(tmp_path)
    annotations = tmp_path / "v2_mscoco_val2014_annotations.json"
    assert rows_of(annotations) == rows_of(questions)
    moved = annotations.rename(tmp_path / "votes.json")
    assert [row.answer for row in rows_of(questions, annotations=str(moved))] == [
        "down",
        "spectating",
        "foodiebakercom",
    ]
    with pytest.raises(UserError, match=r"annotations are not beside it .*`annotations:`"):
        rows_of(questions)
    with pytest.raises(UserError, match="no such file"):
        rows_of(questions, annotations=str(tmp_path / "none.json"))
    assert [row.answers for row in rows_of(questions, annotations="none")] == [()] * 3
    with pytest.raises(UserError, match="has annotations"):
        rows_of(moved)


def test_vqa_test_questions_have_no_answers(tmp_path):
    questions = published.vqa_v2(tmp_path, "test-dev2015", published.VQA_QUESTIONS[:1], None)
    (row,) = rows_of(questions)
    assert asked(row) == [("user", "Where is he looking?")]
    assert (row.answers, row.image, row.split) == ((), ("test2015/COCO_test2015_000000262148.jpg",), "test-dev")
    assert row.meta == {"image_id": 262148, "question_id": 262148000}


def test_vqa_files_out_of_step_are_joined_and_what_has_no_partner_is_a_bad_row(tmp_path):
    annotations = [*published.VQA_ANNOTATIONS[::-1], {**published.VQA_ANNOTATIONS[0], "question_id": 7}, {"x": 1}]
    extra = {"image_id": 5, "question": "Who?", "question_id": 5000}
    other = {**published.VQA_QUESTIONS[2], "image_id": 1}
    questions = published.vqa_v2(tmp_path, "val2014", [*published.VQA_QUESTIONS[:2], extra, other], annotations)
    first, second, unanswered, elsewhere, unasked, nameless = rows_of(questions)
    assert (first.answer, second.answer) == ("down", "spectating")
    assert "5000 has no annotation" in unanswered.reason
    assert "393225000 is about another image" in elsewhere.reason
    assert "question_id 7 belongs to no row" in unasked.reason
    assert "no 'question_id'" in nameless.reason
    assert [row.position for row in (unanswered, elsewhere, unasked, nameless)] == [2, 3, 4, 5]


def test_vqa_abstract_scenes_have_their_own_images_and_names(tmp_path):
    questions = tmp_path / "Questions" / "OpenEnded_abstract_v002_val2015_questions.json"
    row = {"question": "Who looks happier?", "image_id": 20000, "question_id": 200000}
    head = {"info": {"version": "1.0"}, "task_type": "Open-Ended", "data_type": "abstract_v002"}
    published.save(questions, {**head, "data_subtype": "val2015", "questions": [row]})
    answers = {"data_subtype": "val2015", "annotations": [{**row, "answers": published.votes(*["old person"] * 10)}]}
    published.save(tmp_path / "Annotations" / "abstract_v002_val2015_annotations.json", answers)
    name = "val2015/abstract_v002_val2015_000000020000.png"
    write(tmp_path / "Images" / "abstract_v002" / name, shape())
    opened = open_source(SourceSettings(location=str(questions)))
    (found,) = opened.rows()
    assert opened.image_root == tmp_path / "Images" / "abstract_v002"
    assert (found.id, found.image, found.answer) == ("vqa_v1/val/200000", (name,), "old person")


def test_a_byte_order_mark_and_other_scripts_do_not_shift_offsets(tmp_path):
    annotations = [{**row, "multiple_choice_answer": "žluťoučký 馬 🐎"} for row in published.VQA_ANNOTATIONS[::-1]]
    questions = published.vqa_v2(tmp_path, annotations=annotations)
    for path in tmp_path.iterdir():
        text = json.dumps(json.loads(path.read_text()), ensure_ascii=False, indent=1)
        path.write_text(text, encoding="utf-8-sig")
    assert [row.answer for row in rows_of(questions)] == ["down", "spectating", "foodiebakercom"]


def test_ok_vqa_keeps_raw_answers_and_confidence(tmp_path):
    questions = published.ok_vqa(tmp_path)
    (row,) = rows_of(questions)
    assert detect(str(questions)) == "vqa"
    assert (row.id, row.answer, len(row.answers)) == ("ok_vqa/val/2971475", "race", 10)
    assert row.meta["answers"][0] == {
        "answer_id": 1, "raw_answer": "raceing", "answer_confidence": "yes", "answer": "race"
    }  # fmt: skip
    assert (row.meta["confidence"], row.meta["question_type"]) == (3, "four")


def test_textvqa_with_and_without_ocr(tmp_path):
    path = published.textvqa(tmp_path)
    write(tmp_path / "train_images" / "0054c91397f2fe05.jpg", shape())
    (row,) = rows_of(path)
    assert detect(str(path)) == "textvqa"
    assert (row.id, row.image) == ("textvqa/val/34602", ("train_images/0054c91397f2fe05.jpg",))
    assert (row.answer, row.answers) == ("dakota", tuple(published.TEXTVQA_ROW["answers"]))
    assert row.meta == {
        **without(published.TEXTVQA_ROW, "question", "answers"), **without(published.TEXTVQA_OCR, "image_id"),
    }  # fmt: skip
    assert "ocr_tokens" not in rows_of(path, ocr="none")[0].meta
    with pytest.raises(UserError, match="no such file"):
        rows_of(path, ocr=str(tmp_path / "none.json"))


def test_textvqa_test_split_and_many_questions_an_image(tmp_path):
    test = {**without(published.TEXTVQA_ROW, "answers"), "set_name": "test"}
    rows = [{**test, "question_id": number} for number in range(3)] + [{**test, "question_id": 9, "image_id": "b"}]
    ocr = [{"image_id": "b", "ocr_tokens": ["B"]}, published.TEXTVQA_OCR]
    found = rows_of(published.textvqa(tmp_path, "test", rows, ocr))
    assert [row.answers for row in found] == [()] * 4
    assert [row.meta["ocr_tokens"][0] for row in found] == ["DAKOTA"] * 3 + ["B"]
    assert (found[0].split, found[0].image) == ("test", ("test_images/0054c91397f2fe05.jpg",))


def test_vizwiz_keeps_confidence_and_answerability(tmp_path):
    unanswerable = {**published.VIZWIZ_ROW, "image": "VizWiz_val_00000002.jpg", "answerable": 0}
    path = published.vizwiz(tmp_path, rows=[published.VIZWIZ_ROW, unanswerable])
    write(tmp_path / "val" / "VizWiz_val_00000001.jpg", shape())
    opened = open_source(SourceSettings(location=str(path)))
    first, second = opened.rows()
    assert (opened.layout, opened.image_root) == ("vizwiz", tmp_path / "val")
    assert (first.id, first.image) == ("vizwiz/val/VizWiz_val_00000001.jpg", ("VizWiz_val_00000001.jpg",))
    assert (first.answer, len(first.answers), first.answers[4]) == ("night time", 10, "night time cold medicine")
    assert first.meta == without(published.VIZWIZ_ROW, "image", "question")
    assert second.meta["answerable"] == 0
    (test,) = rows_of(published.vizwiz(tmp_path, "test", [{"image": "VizWiz_test_00000000.jpg", "question": "Why?"}]))
    assert (test.split, test.answers, asked(test)) == ("test", (), [("user", "Why?")])


def test_gqa_balanced_all_and_parts(tmp_path):
    path = published.gqa(tmp_path)
    write(tmp_path / "images" / "2354786.jpg", shape())
    (row,) = rows_of(path)
    assert detect(str(path)) == "gqa"
    assert (row.id, row.image, row.answers) == ("gqa/val/02930152", ("2354786.jpg",), ("yes",))
    assert row.meta == {**without(published.GQA_ROW, "question", "answer"), "question_type": "verify"}
    parts = tmp_path / "train_all_questions"
    for number in (10, 2):
        published.gqa(
            parts, f"train_all_questions_{number}", {f"{number:08}": {**published.GQA_ROW, "isBalanced": False}}
        )
    two, ten = rows_of(parts)
    assert (two.id, ten.id) == ("gqa/train/00000002", "gqa/train/00000010")
    assert not two.meta["isBalanced"]
    test = {"201971873": {"isBalanced": True, "question": "Is it overcast?", "imageId": "n15740"}}
    (row,) = rows_of(published.gqa(tmp_path, "testdev_all_questions", test))
    assert (row.id, row.answers, asked(row)) == ("gqa/testdev/201971873", (), [("user", "Is it overcast?")])
    published.gqa(parts, "val_all_questions_0")
    with pytest.raises(UserError, match="several sets"):
        rows_of(parts)


def test_docvqa_in_its_documents_folder_and_as_the_download_unpacks(tmp_path):
    path = published.docvqa(tmp_path)
    (row,) = rows_of(path)
    assert detect(str(path)) == "docvqa"
    assert (row.id, row.image, row.answers) == ("docvqa/val/337", ("documents/xnbl0037_1.png",), ("1/8/93",))
    kept = without(published.DOCVQA_ROW, "question", "answers")
    assert row.meta == {**without(kept, "image"), "question_type": "handwritten, form"}
    write(tmp_path / "spdocvqa_images" / "xnbl0037_1.png", shape())
    (row,) = rows_of(path)
    assert (row.image, row.meta["image"]) == (("spdocvqa_images/xnbl0037_1.png",), "documents/xnbl0037_1.png")
    (row,) = rows_of(path, image_root=str(tmp_path / "spdocvqa_images"))
    assert row.image == ("xnbl0037_1.png",)
    (row,) = rows_of(published.docvqa(tmp_path, [without(published.DOCVQA_ROW, "answers", "question_types")], "test"))
    assert (row.answers, row.split) == ((), "val")  # the row's own word wins


def test_infographicvqa(tmp_path):
    path = published.infographicvqa(tmp_path)
    (row,) = rows_of(path)
    assert detect(str(path)) == "docvqa"
    assert (row.id, row.image) == ("infographicvqa/val/98313", ("37313.jpeg",))
    assert row.meta == without(published.INFOGRAPHIC_ROW, "question", "answers", "image_local_name")


def test_chartqa_file_split_and_all_splits(tmp_path):
    val = published.chartqa(tmp_path)
    published.chartqa(tmp_path, "test")
    write(val / "png" / "two_col_101020.png", shape())
    human, augmented = rows_of(val)
    assert detect(str(val)) == detect(str(tmp_path)) == detect(str(val / "val_human.json")) == "chartqa"
    assert (human.meta["question_type"], augmented.meta["question_type"]) == ("human", "augmented")
    assert (human.question, human.answers, human.split) == (published.CHARTQA_HUMAN["query"], ("14",), "val")
    assert human.image == ("png/41699051005347.png",)
    assert human.meta["imgname"] == "41699051005347.png"
    write(tmp_path / "test" / "png" / "two_col_101020.png", shape())
    opened = open_source(SourceSettings(location=str(tmp_path)))
    rows = list(opened.rows())
    assert opened.image_root == tmp_path
    assert len({row.id for row in rows}) == len(rows) == 4
    assert rows[1].image == ("val/png/two_col_101020.png",)
    assert [row.split for row in rows_of(tmp_path, split="test")] == ["test", "test"]


def test_scienceqa_options_hints_and_text_only_rows(tmp_path):
    path = published.scienceqa(tmp_path)
    write(tmp_path / "train" / "1" / "image.png", shape())
    imaged, written = rows_of(path)
    assert detect(str(path)) == detect(str(tmp_path)) == "scienceqa"
    assert (imaged.id, imaged.image, imaged.answers) == ("scienceqa/train/1", ("train/1/image.png",), ("A",))
    assert imaged.question == (
        "Which of these states is farthest north?\nA. West Virginia\nB. Louisiana\nC. Arizona\nD. Oklahoma"
    )
    assert (written.image, written.answer) == ((), "B")
    assert written.question.startswith("Context: The passage below describes an experiment.\nIdentify")
    assert [dict(row.meta) for row in (imaged, written)] == list(published.SCIENCEQA.values())
    assert [row.id for row in rows_of(tmp_path, split="minival")] == ["scienceqa/minival/2"]
    with pytest.raises(UserError, match=r"no split 'dev'; it has train, val, test"):
        rows_of(path, split="dev")


def test_scienceqa_splits_come_from_the_lists_where_rows_do_not_say(tmp_path):
    path = published.scienceqa(tmp_path)
    bare = {pid: without(row, "split", "answer") for pid, row in published.SCIENCEQA.items()}
    published.save(path, bare)
    assert [(row.split, row.image, row.answers) for row in rows_of(path)] == [
        ("train", ("train/1/image.png",), ()),
        ("val", (), ()),
    ]


def test_pope_one_file_and_all_three(tmp_path):
    path = published.pope(tmp_path)
    write(tmp_path / "val2014" / "COCO_val2014_000000310196.jpg", shape())
    yes, no = rows_of(path)
    assert detect(str(path)) == "pope"
    assert (yes.id, yes.answers, no.answers) == ("pope/adversarial/1", ("yes",), ("no",))
    assert yes.image == ("val2014/COCO_val2014_000000310196.jpg",)
    assert yes.meta == {
        "question_id": 1, "image": "COCO_val2014_000000310196.jpg", "image_id": 310196, "category": "adversarial",
        "question_type": "adversarial",
    }  # fmt: skip
    published.pope(tmp_path, "random")
    assert detect(str(tmp_path)) == "pope"
    assert [row.id for row in rows_of(tmp_path)][::2] == ["pope/random/1", "pope/adversarial/1"]
    llava = {
        "question_id": 0,
        "image": "COCO_val2014_000000310196.jpg",
        "text": "Is there a dog?",
        "category": "popular",
    }
    (row,) = rows_of(published.save_lines(tmp_path / "llava_pope_test.jsonl", [llava]))
    assert (row.id, row.answers) == ("pope/popular/0", ())


def test_one_file_is_claimed_by_one_layout_only(tmp_path):
    made = {
        "vqa": [published.vqa_v2(tmp_path / "v"), published.ok_vqa(tmp_path / "o")],
        "textvqa": [published.textvqa(tmp_path / "t")],
        "vizwiz": [published.vizwiz(tmp_path / "w")],
        "gqa": [published.gqa(tmp_path / "g")],
        "docvqa": [published.docvqa(tmp_path / "d"), published.infographicvqa(tmp_path / "i")],
        "chartqa": [published.chartqa(tmp_path / "c")],
        "scienceqa": [published.scienceqa(tmp_path / "s")],
        "pope": [published.pope(tmp_path / "p")],
    }
    for layout, paths in made.items():
        assert [detect(str(path)) for path in paths] == [layout] * len(paths)
        for path in paths:
            neutral = path.with_name("data.bin")
            if path.is_file() and layout != "vqa":
                neutral.write_bytes(path.read_bytes())
                assert detect(str(neutral)) == layout


def test_a_folder_says_what_it_holds_and_two_claims_are_an_error(tmp_path, monkeypatch):
    published.vizwiz(tmp_path)
    published.gqa(tmp_path)
    with pytest.raises(UserError, match=r"it holds val_balanced_questions\.json \(gqa\): give one of these"):
        detect(str(tmp_path))
    pq.write_table(pa.table({"image": ["a.png"], "caption": ["b"]}), tmp_path / "captions.parquet")
    (tmp_path / "more.csv").write_text("image,caption\na.png,b\n")
    with pytest.raises(UserError, match=r"it holds .*captions\.parquet \(table\).*more\.csv \(table\).*\(gqa\)"):
        detect(str(tmp_path))
    monkeypatch.setitem(LAYOUTS, "pope", replace(LAYOUTS["pope"], looks_like=lambda probe: True))
    with pytest.raises(UserError, match=r"reads as gqa and as pope; say which with `layout:`.*--as NAME"):
        detect(str(tmp_path / "val_balanced_questions.json"))


def test_a_recipe_can_name_source_and_split(tmp_path):
    (row,) = rows_of(published.docvqa(tmp_path), source="mine", split="dev")
    assert (row.id, row.source, row.split) == ("mine/dev/337", "mine", "dev")
    assert isinstance(row, Sample)


def test_the_same_columns_in_a_table_are_a_table(tmp_path):
    for name, header in (
        ("chat.csv", "query,response,image"),
        ("vizwiz.csv", "image,question,answerable,answer_type,answer"),
    ):
        path = tmp_path / name
        path.write_text(f"{header}\n{','.join('x' * len(header.split(',')))}\n")
        assert detect(str(path)) == "table"
