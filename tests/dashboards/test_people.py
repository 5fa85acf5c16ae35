"""Names that reviewers type, and names that a proxy gives."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from starlette.datastructures import Headers

from dashboards.people import COOKIE, LONGEST_NAME, Person, person, plain_name
from dashboards.settings import USER_HEADER_VARIABLE


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("  Ann   Bo\n", "Ann Bo"),
        ("Ann\0\x1b", "Ann"),
        ("Ann\u200b\ufeff\u00ad", "Ann"),  # of no width
        ("\u202ennA\u2066", "nnA"),  # written from the right
        ("A\ud800nn", "Ann"),
        ("\u0646\u06cc\u0644\u200c\u0648", "\u0646\u06cc\u0644\u200c\u0648"),  # Persian needs its joiner
        ("Ann\u00a0Bo\u2028Co", "Ann Bo Co"),
        ("x" * 500, "x" * LONGEST_NAME),
        ("\u200b\u202e", ""),
    ],
)
def test_names_that_look_alike_are_one(typed: str, name: str) -> None:
    assert plain_name(typed) == name
    assert plain_name(name) == name


@pytest.mark.parametrize("cookie", ["%", "%ff%00", "%ED%A0%80", quote("Ann\u202e"), "\x01", "%0d%0aSet-Cookie: x"])
def test_any_cookie_gives_a_line_of_text(cookie: str) -> None:
    name = person({}, {COOKIE: cookie}).name
    assert name.isprintable() and name.encode()


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (["ann"], "ann"),
        (["\u00c4nne Zo\u00eb"], "\u00c4nne Zo\u00eb"),
        ([], ""),
        ([""], ""),
        (["ann", "ben"], ""),  # a proxy that adds its line to the visitor's
        (["ann", "ann"], ""),
        (["an\u00adn"], ""),  # looks like ann, whose decisions these would be
        (["x" * (LONGEST_NAME + 1)], ""),
    ],
)
def test_only_one_plain_name_of_the_proxy_counts(monkeypatch: pytest.MonkeyPatch, given: list[str], name: str) -> None:
    monkeypatch.setenv(USER_HEADER_VARIABLE, "X-Remote-User")
    headers = Headers(raw=[(b"x-remote-user", value.encode()) for value in given])
    assert person(headers, {COOKIE: "eve"}) == Person(name, is_trusted=True)
    if len(given) == 1:
        assert person({"X-REMOTE-USER": given[0]}, {}).name == name
