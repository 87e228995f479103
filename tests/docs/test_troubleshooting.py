"""Whoever looks for a message finds it: each text of the package is on the page of troubleshooting, or says why not."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest

from docs.messages import PACKAGE, VALUE, Entry, Text, entries, texts, texts_in, written
from docs.running import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
REFERENCE = ROOT / "docs" / "reference" / "errors.md"

SECTIONS = {
    "AuthFailedError": "AuthError",
    "AuthManagerUnsupported": "AuthError",
    "AuthenPayloadError": "AuthError",
    "InsecureTransportWarning": "Warnings",
    "LoginTimeout": "AuthError",
    "MessagesLost": "StoreError",
    "ResilientError": "Answers of the embedded server",
    "ResourceWarning": "Warnings",
    "StoreCorrupt": "StoreError",
    "StoreFull": "StoreError",
    "UserWarning": "Warnings",
    "answer": "Answers of the embedded server",
    "log": "Log lines",
}
"""The section of each kind of text that has none by its own name."""


class Group(NamedTuple):
    """Texts that need no row of their own.

    Attributes:
        reason: why.
        has: whether a text is one of them.
    """

    reason: str
    has: Callable[[Text], bool]


def kinds(*names: str) -> Callable[[Text], bool]:
    """Whether a text is of one of these kinds."""
    return lambda text: text.kind in names


GROUPS = [
    Group(
        "it names the argument, what it must be and often what to write; the page has a section about all of them",
        kinds("TypeError", "ValueError"),
    ),
    Group("a command prints it, with its usage", lambda text: text.file.startswith("cli/")),
    Group("a command of Django prints it", kinds("CommandError")),
    Group("it names the setting and what it must be; the page says so", kinds("ConfigError")),
    Group("it is the end of the message of a SocketMessageMalformed", kinds("ConversionError")),
    Group("it is the reason after a close code", kinds("FramingError")),
    Group("it decides about generated code, and is caught there", kinds("NotCompiledError")),
    Group("a test that fails prints it, with what to do", kinds("AssertionError")),
    Group("it says which name there is not, as Python does of any object", kinds("AttributeError")),
    Group(
        "it is caught where it is raised, and is at most the cause of a message on the page",
        kinds("ConnectionAbortedError", "DatabaseError", "EOFError", "ImportError", "OSError", "TimeoutError"),
    ),
    Group("it is the end of the line in the log about the option proxy_protocol", kinds("ProxyHeaderError")),
    Group("it says that asyncio alone can await, and what to write instead", kinds("RuntimeError")),
    Group("a test that asks for what its settings do not have gets it", kinds("LookupError")),
    Group(
        "it is made of a description, which is checked where it is given",
        lambda text: text.text in ("received …: …", "received …: id …"),
    ),
    Group("the class says it all, and the page has the text of the error around it", kinds("StreamChanged")),
]


def section_of(text: Text) -> str:
    """The heading under which the page has a text."""
    return SECTIONS.get(text.kind, text.kind)


def is_explained(text: Text, rows: list[Entry]) -> bool:
    """Whether the page has a text, or a group does."""
    return any(group.has(text) for group in GROUPS) or any(
        row.section == section_of(text) and row.covers(text) for row in rows
    )


@pytest.fixture(scope="module")
def rows() -> list[Entry]:
    """The messages of the page."""
    return entries(PAGE)


def test_each_message_is_on_the_page(rows: list[Entry]) -> None:
    """Under the heading of its class, with what it means and what to do."""
    missing = [text for text in texts() if text.has_words and not is_explained(text, rows)]
    assert not missing, (
        "nobody who meets these messages finds them. Write a row into docs/troubleshooting.md, under the heading of "
        "the class ('Log lines' for the log), with … for each value; or, where a row would say no more than the "
        "message, add a group with its reason to GROUPS in tests/docs/test_troubleshooting.py:\n"
        + "\n".join(f"{text}   (heading: {section_of(text)})" for text in missing)
    )


def test_no_row_is_about_a_message_that_is_gone(rows: list[Entry]) -> None:
    """Its words stand in the source."""
    source = {
        written(node)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr | ast.Constant)
    }
    words = "\n".join(re.sub("%[-.0-9]*[a-z]", VALUE, text) for text in source)
    parts = {row: [part.strip() for part in re.split(f"{VALUE}|: |[()]|^received | 401$", row.text)] for row in rows}
    gone = [row.text for row in rows if not all(part in words for part in parts[row] if len(part) > 6)]
    assert gone == []


def test_no_message_stands_twice_in_a_section(rows: list[Entry]) -> None:
    """One place says what to do."""
    assert [row for row in set(rows) if rows.count(row) > 1] == []


def test_each_group_has_texts() -> None:
    """None is left over from texts that are gone."""
    all_texts = list(texts())
    assert [group.reason for group in GROUPS if not any(map(group.has, all_texts))] == []


def test_each_class_in_the_reference_leads_to_its_messages(rows: list[Entry]) -> None:
    """Below its description."""
    reference = REFERENCE.read_text(encoding="utf-8")
    described = re.findall(r"^::: owlsocket_sync\.errors\.(\w+)\n(.*?)(?=^:::|\Z)", reference, re.MULTILINE | re.DOTALL)
    sections = {row.section for row in rows}
    for name, rest in described:
        section = SECTIONS.get(name, name)
        if section in sections and name != "ResilientError":
            anchor = section.lower().replace(" ", "-")
            assert f"(../troubleshooting.md#{anchor})" in rest, f"docs/reference/errors.md: {name} has no link"


def test_texts_are_read_as_people_see_them() -> None:
    """With ``…`` for each value, from wherever they are made; what only passes on a text has no words."""
    source = """
raise SocketTimeout(f"call {name!r} took {seconds:g} s, " "which is too long")
raise unsent(StoreError(text))
logger.log(level, "%s: next attempt in %.2f s%s", name, delay, why)
warnings.warn(f"{host} is open", InsecureTransportWarning, stacklevel=2)
done = malformed("text that is not JSON", text)
"""
    found = list(texts_in("one.py", source))
    assert [(text.line, text.kind, text.text) for text in found] == [
        (2, "SocketTimeout", "call … took … s, which is too long"),
        (3, "StoreError", "…"),
        (4, "log", "…: next attempt in … s…"),
        (5, "InsecureTransportWarning", "… is open"),
        (6, "SocketMessageMalformed", "received text that is not JSON: …"),
    ]
    assert [text.has_words for text in found] == [True, False, True, True, True]


def test_a_row_covers_its_message_and_no_other() -> None:
    """A value may be anything, words are words; a row of values alone covers no words."""
    text = Text("one.py", 1, "SocketTimeout", "call … took … s")
    assert Entry("SocketTimeout", "call … took … s").covers(text)
    assert Entry("SocketTimeout", "… took …").covers(text)
    assert not Entry("SocketTimeout", "call … took").covers(text)
    assert not Entry("SocketTimeout", "…: …").covers(Text("one.py", 1, "SocketTimeout", "it is: late"))
