"""Views saved by name in ``DATA/views.yaml``: one file for the team, read and edited by hand too."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import yaml
from pydantic import AfterValidator, Field, model_validator

from winnow.errors import UserError
from winnow.files import locked, write_text
from winnow.recipe import StrictModel, parse_recipe
from winnow.strict_yaml import read_texts

FILE = "views.yaml"
LONGEST_NAME = 120
_MOST_VIEWS, _MOST_BYTES = 2_000, 1 << 20  # what ``read_texts`` reads
_HEAD = "# Saved views of the dashboard. Edit by hand as you like; the dashboard keeps the order, not comments.\n"


def _plain(text: str) -> str:
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text) or text != text.strip():
        raise ValueError("is one line of text without blanks at its ends")
    return text


_Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_plain)]


class SavedView(StrictModel):
    """A page's view under a name.

    Attributes:
        name: any line of text; it never becomes part of a path.
        page: the last part of the page's address, such as ``failures``.
        parameters: the rest of the address; it holds the whole view.
        by, at: who saved it, and when (with time zone); may be missing in a file written by hand.
    """

    name: _Name
    page: str = Field(pattern=r"^[a-z_]{1,40}$")
    parameters: dict[str, str | list[str]] = Field(default_factory=dict)
    by: str = ""
    at: datetime | None = None

    @property
    def address(self) -> str:
        """Where the view is, relative to the app."""
        return f"{self.page}?{urlencode(self.parameters, doseq=True)}"


class _File(StrictModel):
    views: tuple[SavedView, ...] = Field((), max_length=_MOST_VIEWS)

    @model_validator(mode="after")
    def _names_differ(self) -> _File:
        seen: set[str] = set()
        for view in self.views:
            if view.name.casefold() in seen:
                raise ValueError(f"two views are named {view.name!r}; rename one")
            seen.add(view.name.casefold())
        return self


def read_views(data: Path) -> tuple[SavedView, ...]:
    """The saved views of a data folder in the file's order; none without a file, or with an empty one.

    Raises:
        UserError: the file cannot be read, is no YAML, or holds something else.
    """
    path = data / FILE
    if not path.exists() or not path.stat().st_size:
        return ()
    # Texts, so that a name such as 0429 or no needs no quotes.
    return parse_recipe(read_texts(path), _File, where=str(path)).views


def save_view(data: Path, view: SavedView) -> None:
    """Add a view.

    Raises:
        UserError: there is one of that name, in whatever case, or the file is broken or cannot be written.
    """

    def add(views: tuple[SavedView, ...]) -> tuple[SavedView, ...]:
        _check_free(views, view.name)
        return (*views, view)

    _change(data, add)


def rename_view(data: Path, name: str, new: str) -> None:
    """Give a view another name; raises UserError like ``save_view``, and where there is none of that name."""

    def rename(views: tuple[SavedView, ...]) -> tuple[SavedView, ...]:
        _check_there(views, name)
        renamed = checked(**next(view for view in views if view.name == name).model_dump() | {"name": new})
        _check_free(tuple(view for view in views if view.name != name), renamed.name)
        return tuple(renamed if view.name == name else view for view in views)

    _change(data, rename)


def delete_view(data: Path, name: str) -> None:
    """Remove a view; raises UserError where there is none of that name, and for a broken file."""

    def delete(views: tuple[SavedView, ...]) -> tuple[SavedView, ...]:
        _check_there(views, name)
        return tuple(view for view in views if view.name != name)

    _change(data, delete)


def checked(**values: Any) -> SavedView:
    """A view of these values.

    Raises:
        UserError: the name is empty or too long, or holds characters that cannot be shown.
    """
    return parse_recipe(values | {"name": " ".join(values["name"].split())}, SavedView, where="the view")


def _check_free(views: tuple[SavedView, ...], name: str) -> None:
    if any(view.name.casefold() == name.casefold() for view in views):
        raise UserError(f"there is already a view named {name!r}; choose another name, or rename or delete that one")


def _check_there(views: tuple[SavedView, ...], name: str) -> None:
    if all(view.name != name for view in views):
        raise UserError(f"there is no view named {name!r} any more; somebody renamed or deleted it")


def _change(data: Path, change: Callable[[tuple[SavedView, ...]], tuple[SavedView, ...]]) -> None:
    """Read, change and write the file under a lock, so that two people's views both stay."""
    path = data / FILE
    try:
        with locked(data / f".{FILE}.lock"):
            views = change(read_views(data))
            listed = [view.model_dump(mode="json", exclude_defaults=True) for view in views]
            text = _dumped(listed, allow_unicode=True)
            if "\x85" in text:  # PyYAML writes this line break as it is, and reads a blank
                text = _dumped(listed, allow_unicode=False)
            if len(views) > _MOST_VIEWS or len(text.encode()) > _MOST_BYTES:
                raise UserError(f"{path}: is full; delete some views first")
            write_text(path, text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _dumped(listed: list[dict[str, Any]], *, allow_unicode: bool) -> str:
    return _HEAD + yaml.safe_dump({"views": listed}, allow_unicode=allow_unicode, sort_keys=False, width=110)
