"""Lines that hold a plain conversation → columns of rows at once, without the objects between them.

What is read here is what ``winnow.rows.records.from_record``, ``Below.put`` and ``row_of`` make of the same line, in a
fifth of their time; their result is the oracle of the tests. Any line that is not as plain as ``PlainRows.row`` asks
for gets None, and takes their way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from curate.readers.base import Plain
from curate.readers.below_root import Below
from curate.readers.facts import Counted
from curate.readers.images.store import is_encoded
from curate.readers.rows import Row
from curate.readers.spelling import Root
from curate.readers.storable import is_plain
from curate.signals.memo import Remembered
from winnow.rows.conversations import OWN_KEYS, ROLES
from winnow.rows.keys import COMPARED, normalized
from winnow.rows.parts import IMAGE_MARKER
from winnow.rows.records import full_id, majority, without_markers

_KEYS = frozenset({*OWN_KEYS, "image", "answers"})
_LEAST = frozenset({"id", "conversations"})
_ROLES = {name: role for name, role in ROLES.items() if role != "system"}
_TEXT = frozenset({str})
_OBJECTS = ("<ref-object>", "<bbox>")
_ASKED: Remembered[str] = Remembered(lambda text: normalized(without_markers(text, " ")))
_SAID: Remembered[str] = Remembered(normalized)
_json = json.JSONEncoder(ensure_ascii=False).encode
_quoted = json.encoder.encode_basestring


class PlainRows:
    """Reads the plain rows of a range.

    Args:
        plain: of its reading; None if no row of it is plain.
        root, below: of its source.
        counted: counts the rows.
    """

    def __init__(self, plain: Plain | None, root: Root, below: Below, counted: Counted) -> None:
        self._plain = plain if below.keeps_paths else None
        self._root, self._counted = root, counted
        self._known = set[tuple[str, ...]]()
        self._may_have_images = below.own in below.folders

    def row(self, record: Mapping[str, Any]) -> Row | None:
        """The columns of a JSON object; None if it is not plain.

        It has a text as ``id``, turns of user and assistant under ``conversations`` that are ``from`` and ``value``
        alone, ``image`` with one path that is spelled as files are, and of ``answers``, ``source``, ``split`` and
        ``meta`` any; nothing else. Markers in its texts are those of images only.
        """
        plain, keys = self._plain, tuple(record)
        if plain is None or (keys not in self._known and not self._is_known(keys)):
            return None
        own, turns, image = record["id"], record["conversations"], record.get("image")
        answers, meta = record.get("answers"), record.get("meta")
        if type(own) is not str or not own or type(turns) is not list or not turns:
            return None
        if "image" in record and not self._is_plain_path(image):
            return None
        if answers is None:
            answers = ()
        elif type(answers) is not list or (answers and {*map(type, answers)} != _TEXT):
            return None
        if meta is None:
            meta = {}
        elif type(meta) is not dict or not COMPARED.isdisjoint(meta) or not all(map(is_plain, meta.values())):
            return None
        source, split = record.get("source") or plain.source, record.get("split") or plain.split
        if type(source) is not str or type(split) is not str:
            return None

        is_own = record.keys() >= OWN_KEYS
        asked: list[str] = []
        said: list[str] = []
        written: list[str] = []
        for turn in turns:
            if type(turn) is not dict or len(turn) != 2:
                return None
            name, value = turn.get("from"), turn.get("value")
            if type(name) is not str or type(value) is not str or (role := _ROLES.get(name)) is None:
                return None
            if "<" in value and not _has_image_markers_only(value, is_own):
                return None
            (asked if role == "user" else said).append(value)
            written.append(f'{{"from": "{role}", "value": {_quoted(value)}}}')

        sample_id, kind = full_id(own, source, split), meta.get("question_type")
        shown = f'"image": {_quoted(image)}, ' if image else ""
        votes = f'"answers": [{", ".join(map(_quoted, answers))}], ' if answers else ""
        line = (
            f'{{"id": {_quoted(sample_id)}, {shown}"conversations": [{", ".join(written)}], {votes}"source":'
            f' {_quoted(source)}, "split": {_quoted(split)}, "meta": {_json(meta) if meta else "{}"}}}'
        )
        self._counted.rows += 1
        self._counted.with_image += image is not None
        return (
            sample_id, source, split, (image,) if image else (),
            without_markers(asked[0]).strip() if asked else "", said[0] if said else "",
            answers, kind if isinstance(kind, str) else None, line, None,
            "\n".join(map(_ASKED.__getitem__, asked)),
            "\n".join(map(_SAID.__getitem__, said)) if said else _SAID[majority(answers)],
            "", False,
        )  # fmt: skip

    def _is_known(self, keys: tuple[str, ...]) -> bool:
        """Whether rows with these keys may be plain."""
        assert self._plain is not None
        shown = self._plain.image_is_alone(keys) if "image" in keys else self._plain.may_lack_image
        if found := shown and _LEAST <= set(keys) <= _KEYS:
            self._known.add(keys)
        return found

    def _is_plain_path(self, image: Any) -> bool:
        return self._may_have_images and type(image) is str and self._root.is_plain(image) and not is_encoded(image)


def _has_image_markers_only(text: str, is_own: bool) -> bool:
    """Whether a text stays as it is: in Winnow's own form all do but for the objects that some name."""
    if is_own:
        return not any(map(text.__contains__, _OBJECTS))
    return text.count("<") == text.count(IMAGE_MARKER)
