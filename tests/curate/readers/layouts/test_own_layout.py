"""A layout is one file: dropped into ``layouts`` it is recognised, read, and its images are found."""

import sys

from curate import readers
from curate.readers import LAYOUTS, detect, layouts, open_source
from curate.settings.sources import SourceSettings
from tests.curate.make_images import shape, write
from winnow.rows.records import BadRow

OWN = '''
"""Plates: ``{"plates": [{"file": "1", "reads": "AB-123"}]}``, images in ``shots/``."""

from pathlib import Path

from curate.readers.base import Layout, Reading
from curate.readers.fields import sample, text
from curate.readers.files.json import iter_document


def looks_like(probe):
    return {"file", "reads"} <= probe.element("plates").keys()


def readings(settings):
    def to_sample(row, name_of):
        reads = text(row.fields, "reads")
        return sample(
            row.fields, settings, question="What is on the plate?", answers=(reads,), image=name_of(row),
            own=text(row.fields, "file"), source="plates", split="", held={"reads": reads},
        )

    rows = iter_document(Path(settings.location), "plates")
    yield Reading(rows, to_sample, names=lambda row: [f"{text(row.fields, 'file')}.{end}" for end in ("jpg", "png")],
                  folders=("shots",))


LAYOUT = Layout(__doc__, example="{location: plates.json}", looks_like=looks_like, readings=readings)
'''


def test_a_file_in_the_folder_is_a_layout(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "plates.py").write_text(OWN)
    monkeypatch.setattr(layouts, "__path__", [*layouts.__path__, str(tmp_path / "code")])
    monkeypatch.setitem(sys.modules, "curate.readers.layouts.plates", None)
    del sys.modules["curate.readers.layouts.plates"]
    found = readers._all_layouts()
    assert found.keys() - LAYOUTS.keys() == {"plates"}
    monkeypatch.setitem(LAYOUTS, "plates", found["plates"])

    location = tmp_path / "set.json"
    location.write_text('{"plates": [{"file": "1", "reads": "AB-123", "lane": 2}, {"file": "2"}, 3]}')
    write(tmp_path / "shots" / "1.png", shape())
    assert detect(str(location)) == "plates"
    opened = open_source(SourceSettings(location=str(location)))
    first, *bad = opened.rows()
    assert opened.image_root == tmp_path / "shots"
    assert (first.id, first.image, first.answer) == ("plates/1", ("1.png",), "AB-123")
    assert first.meta == {"file": "1", "lane": 2}
    assert [(type(row), row.reason) for row in bad] == [(BadRow, "no text 'reads'"), (BadRow, "not a JSON object")]
