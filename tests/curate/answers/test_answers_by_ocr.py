import pickle
from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.answers.neighbours import write_neighbours
from curate.answers.ocr import against, contradiction, dates_in, numbers_in, readings, write_read_answers
from curate.answers.suspects import BASE, write_answers
from curate.signals import IMAGE_MODELS
from tests.curate.stored import image, sample, store

RECEIPT = "\n".join(
    ["BOOK TA .K (TAMAN DAYA) SDN BHD", "NO.53 55, JALAN SAGU 18", "Date:\t25/12/201818:13", "PENCIL\t1 X\t4.50\t4.50",
     "Sub Total\t1,234.50", "GRAND T0TAL (RM)\t1 238.00", "CASH\t1,300.00"]
)  # fmt: skip


@given(st.dates(date(1950, 1, 1), date(2049, 12, 31)), st.sampled_from([
    "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%Y-%m-%d", "%Y%m%d", "%d %b %Y", "%d%b%Y", "%B %d, %Y", "%d/%m/%Y%H:%M",
    "#19- %d/%m/%Y 10:27",
]))  # fmt: skip
def test_a_date_is_read_in_any_format(day, form):
    assert (day.year, day.month, day.day) in dates_in(f"Date : {day.strftime(form)} T1")


@given(st.dates(date(2000, 1, 1), date(2049, 12, 31)))
def test_two_digits_are_a_year_of_this_century(day):
    assert (day.year, day.month, day.day) in dates_in(day.strftime("%d-%m-%y"))


@given(st.integers(0, 10**9), st.integers(0, 99))
def test_a_number_is_read_in_any_format(whole, cents):
    value = Decimal(whole) + Decimal(cents) / 100
    for text in (
        f"{value:,.2f}",
        f"{value:.2f}",
        f"{value:,.2f}".replace(",", " ").replace(".", ",").replace(" ", "."),
    ):
        assert value in readings(text)
    assert any(value in found for found in numbers_in(f"RM{value:,.2f}SR"))


@given(st.text(max_size=300), st.text(max_size=60), st.text(max_size=60))
def test_any_text_gets_a_judgement(text, question, answer):
    found = contradiction(question, answer, text)
    if found.applies:
        assert 0 <= found.support <= 1 and 0 <= found.contradiction <= 1
    else:
        assert found.support is found.contradiction is None


@pytest.mark.parametrize(
    ("question", "answer", "support", "against"),
    [
        ("What is the total?", "RM1,238.00", 1, 0),
        ("What is the total?", "1238", 1, 0),
        ("What is the total?", "9.00", 0, 1),
        ("What is the total?", "1300.00", 1, 0.5),  # the cash
        ("What is the date?", "2018-12-25", 1, 0),
        ("What is the date?", "25 Dec 2018", 1, 0),
        ("What is the date?", "26~12–18", 0, 1),
        ("What is the date?", "25-12~18", 1, 0),
        ("What is the date?", "25/12/2017", 0, 1),
        ("What is the name of the company?", "Book Ta .K (Taman Daya) Sdn Bhd", 1, 0),
        ("What is the name of the company?", "B00k TA K (TAMAN DAYA SDN. BHD.", 1, 0),
    ],
)
def test_an_answer_is_sought_as_what_it_is(question, answer, support, against):
    found = contradiction(question, answer, RECEIPT)
    assert found.applies and found.support == pytest.approx(support, abs=0.1) and found.contradiction == against


def test_words_that_are_not_there_contradict():
    found = contradiction("What is the name of the company?", "GERBANG ALAF RESTAURANTS", RECEIPT)
    assert found.support < 0.6 and found.contradiction > 0.7


@pytest.mark.parametrize(
    ("answer", "text", "misread"),
    [
        ("15.15", "TOTAL\tRM\t15\t15", True),
        ("15.15", "TOTAL 1515", True),
        ("15.15", "TOTAL 215 15", False),
        ("635.00", "TOTAL 035.00", True),
        ("635.00", "TOTAL 735.00", False),
        ("6.00", "TOTAL 8.00", False),  # too short: other sums are as near
    ],
)
def test_a_number_that_was_misread_contradicts_by_half(answer, text, misread):
    found = contradiction("What is the total?", answer, text)
    assert (found.support, found.contradiction) == ((0.5, 0.5) if misread else (0, 1))


def test_evidence_is_of_dates_and_numbers():
    asked = "What is the total?"
    nats = [against(contradiction(asked, answer, RECEIPT)) for answer in ("1238.00", "1300.00", "9.00")]
    assert nats == sorted(nats) and nats[0] < 0 < nats[2]
    assert against(contradiction("What is the name?", "nobody at all", RECEIPT)) is None
    assert against(contradiction("Is it a receipt?", "yes", RECEIPT)) is None


def read_space(folder, samples, texts):
    """A stored set whose pictures ``texts`` (key → text) were read."""
    space = store(folder, samples, [image(key) for key in ("k0", "k1", "k2")])
    part = space.model_folder("ocr") / "part-00000.parquet"
    part.parent.mkdir(parents=True)
    schema = IMAGE_MODELS["ocr"].schema
    rows = [{"image_key": key, "ocr_text": text, "ocr_boxes": [0, 0, 9, 9, 10_000]} for key, text in texts.items()]
    pq.write_table(pa.Table.from_pylist(rows, schema), part)
    return space


def test_rows_are_judged_by_all_their_pictures(tmp_path, monkeypatch):
    total = "What is the total?"
    samples = [
        sample("right", ["k0"], total, "1238.00"),
        sample("wrong", ["k0"], total, "9.00"),
        sample("second", ["k1", "k0"], total, "1238.00"),
        sample("unread", ["k0", "k2"], total, "9.00"),
        sample("open", ["k0"], "Is it a receipt?", "yes"),
        sample("text", [], total, "9.00"),
    ]
    space = read_space(tmp_path, samples, {"k0": RECEIPT, "k1": "Thank you 77"})
    write_read_answers(space)
    before = space.read_answers.read_bytes()
    table = {row["position"]: row for row in pq.read_table(space.read_answers).to_pylist()}
    assert {at: row["ocr_contradiction"] for at, row in table.items()} == {0: 0, 1: 1, 2: 0}
    monkeypatch.setattr("curate.answers.ocr._ROWS", 1)
    write_read_answers(space)
    assert space.read_answers.read_bytes() == before
    write_neighbours(space, 10)
    write_answers(space, [], [])
    found = {row["sample_id"]: row for row in pq.read_table(space.answers).to_pylist()}
    assert set(found) == {"right", "wrong", "second"} and found["wrong"]["suspect_why"] == "ocr"
    assert found["right"]["suspect"] < BASE < found["wrong"]["suspect"] and found["wrong"]["ocr_support"] == 0


def test_without_text_in_pictures_the_table_is_empty(tmp_path):
    space = store(tmp_path, [sample("a", ["k0"], "What is the total?", "9.00")], [image("k0")])
    write_read_answers(space)
    assert pq.read_table(space.read_answers).num_rows == 0


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        ("Is it a receipt?", "yes", RECEIPT),
        ("How many items were bought?", "3", RECEIPT),
        ("What colour is the sign?", "a dark red", RECEIPT),
        ("What animal is this?", "a horse", RECEIPT),
        ("What is the total?", "9.00", ""),
        ("What is the total?", "9.00", "- |"),
        ("What is the total?", "", RECEIPT),
    ],
)
def test_where_text_cannot_tell_nothing_is_said(question, answer, text):
    found = contradiction(question, answer, text)
    assert (found.support, found.contradiction, found.applies) == (None, None, False)


def test_text_that_was_hard_to_read_contradicts_less():
    boxes = [0, 0, 100, 100, 10_000, 0, 0, 100, 100, 4_000]
    found = contradiction("What is the total?", "9.00", RECEIPT, boxes)
    assert found.contradiction == pytest.approx(0.7)
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 (our own)


def test_hostile_text_is_only_text():
    for text in ("9" * 100_000, "1/" * 50_000, "a" * 1_000_000, "\0\x1b[31m\ud800" * 1000, "1 . " * 30_000):
        contradiction("What is the total?", "9.00", text)
        contradiction("What is the name?", "a" * 10_000, text)
