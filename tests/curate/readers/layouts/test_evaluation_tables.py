"""Tables of benchmarks: VLMEvalKit's TSV with shared images, MMMU-Pro, options inside the question."""

import base64
import csv
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.readers import open_source
from curate.readers.images.store import content_path
from curate.readers.tables.options import options_in
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded
from tests.curate.readers import published
from tests.curate.sets import scene

FIRST, SECOND = encoded(scene(1)), encoded(scene(2))


def opened(location, **options):
    return open_source(SourceSettings(location=str(location), **options))


def test_rows_that_name_another_row_have_its_image(tmp_path):
    source = opened(published.vlmevalkit(tmp_path))
    row, rotated, two = source.rows()
    assert source.layout == "vlmevalkit"
    assert row.image == rotated.image == (content_path(FIRST),)
    assert rotated.embedded == {content_path(FIRST): FIRST}
    assert two.image == (content_path(FIRST), content_path(SECOND))
    assert (row.answer, rotated.answer) == ("B", "A")
    assert row.question == "Which is it?\nA. a cat\nB. a dog" and row.meta["options"] == ["a cat", "a dog"]
    assert two.question == "Context: Ice is cold.\nWhich is colder?\nA. ice\nB. tea\nC. air"
    assert (row.id, rotated.id) == ("MMBench_DEV_EN/241", "MMBench_DEV_EN/1000241")
    assert [sample.meta["g_index"] for sample in (row, rotated, two)] == [241, 241, 252]


def test_a_row_may_name_one_that_follows(tmp_path):
    table = tmp_path / "b.tsv"
    later = base64.b64encode(FIRST).decode()
    table.write_text(f"index\timage\tquestion\tanswer\nx\ty\twhat?\tcat\ny\t{later}\twhat?\tcat\nz\tq\twhat?\tcat\n")
    x, y, z = opened(table).rows()
    assert x.image == y.image == (content_path(FIRST),)
    assert z.image == ("q",) and not z.embedded, "a name of no row is a path, and the image is missing"


def test_a_cell_that_pandas_wrote_as_nan_is_empty(tmp_path):
    row = {"index": 3, "question": "Which?", "hint": "nan", "A": "cat", "B": "dog", "C": "nan", "D": "nan",
           "answer": "A", "image": {"bytes": FIRST, "path": None}}  # fmt: skip
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "dev-00000-of-00001.parquet")
    (sample,) = opened(tmp_path / "dev-00000-of-00001.parquet").rows()
    assert sample.question == "Which?\nA. cat\nB. dog" and sample.meta["hint"] is None


@pytest.mark.slow
def test_memory_does_not_grow_with_shared_images(tmp_path):
    def peak(count: int) -> int:
        table = tmp_path / f"{count}.tsv"
        with table.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            writer.writerow(["index", "image", "question", "answer"])
            for number in range(count):
                data = FIRST + number.to_bytes(4) * 5_000
                writer.writerow([number, base64.b64encode(data).decode(), "what?", "cat"])
            writer.writerows([1_000_000 + number, number, "what?", "cat"] for number in range(count))
        tracemalloc.start()
        rows = sum(len(sample.embedded) for sample in opened(table).rows())
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert rows == 2 * count
        return most

    small, large = peak(100), peak(1000)
    assert large < small + 3_000_000, "20 MB of images more"


def test_the_vision_rows_of_mmmu_pro_ask_in_the_image(tmp_path):
    row = {"id": "test_History_1", "image": {"bytes": FIRST, "path": None}, "options": "['a', 'b', 'c']",
           "answer": "C", "subject": "History"}  # fmt: skip
    folder = tmp_path / "vision"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([row]), folder / "test-00000-of-00001.parquet")
    source = opened(folder)
    (sample,) = source.rows()
    assert source.layout == "mmmu"
    assert sample.question == "Answer the multiple-choice question in the image." and sample.answer == "C"
    assert sample.image == (content_path(FIRST),) and sample.meta["options"] == "['a', 'b', 'c']"


def test_queries_of_amber_are_joined_to_their_annotations(tmp_path):
    published.amber(tmp_path)
    queries = tmp_path / "data/query"
    (asked,) = opened(queries / "query_discriminative.json").rows()
    assert (asked.id, asked.answer) == ("amber/1005", "yes")
    assert asked.meta["type"] == "discriminative-attribute-state"
    (described,) = opened(queries / "query_generative.json").rows()
    assert described.answer == "sky, forest"
    assert (described.meta["truth"], described.meta["hallu"]) == (["sky", "forest"], ["cloud"])
    published.save(queries / "query_discriminative.json", [published.AMBER_QUERY, {**published.AMBER_QUERY, "id": 7}])
    _, lost = opened(queries / "query_discriminative.json").rows()
    assert lost.reason == "id 7 is not in annotations.json"


def test_every_expression_of_a_box_is_a_row(tmp_path):
    path = published.refcoco(tmp_path)
    source = opened(path)
    first, second = source.rows()
    assert source.layout == "refcoco"
    assert (first.question, second.question) == ("guy petting elephant", "foremost person")
    assert first.answer == second.answer == "[53.8, 249.9, 213.7, 298.0]"
    assert first.image == second.image == (content_path(FIRST),)
    assert (first.id, second.id) == ("val-00000-of-00001/469306-0-0", "val-00000-of-00001/469306-0-1")
    assert (first.meta["width"], first.meta["height"]) == scene(1).size
    pq.write_table(pa.Table.from_pylist([{**pq.read_table(path).to_pylist()[0], "bbox": [1.0]}]), path)
    (bad,) = opened(path).rows()
    assert bad.reason == "needs a list of expressions and a bbox of four numbers"


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Which is it?\nOptions: A: The cat is on it., B: It, the dog, is., C: Point B., D: None",
         ("The cat is on it.", "It, the dog, is.", "Point B.", "None")),
        ("Where to?\n\nA. Left\nB. Straight on\nPlease answer with the letter.", ("Left", "Straight on")),
        ("Vitamin A. or not?\n(A) yes\n(B) no", ("yes", "no")),
        ("How many? Please answer with a number.", None),
        ("A: is this B?", None),
        (None, None),
    ],
)  # fmt: skip
def test_options_are_read_out_of_a_question(question, options):
    found = options_in(question)
    assert (found.texts if found else None) == options


def test_a_question_that_lists_its_options_is_a_multiple_choice(tmp_path):
    asked = "Where to?\n\nA. Left\nB. Right\nPlease answer with the letter."
    rows = [{"question": asked, "answer": "B"}, {"question": "How many?", "answer": "0"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    choice, number = opened(tmp_path / "t.parquet", columns={"options": "question"}).rows()
    assert (choice.question, choice.answer, choice.meta["options"]) == (asked, "B", ["Left", "Right"])
    assert (number.question, number.answer) == ("How many?", "0") and "options" not in number.meta
