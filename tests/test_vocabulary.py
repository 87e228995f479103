"""One vocabulary: the words of the field, one idea for each word, reasons beside the lines that they protect."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "owlsocket_sync"
SOURCES = sorted(
    path for folder in ("owlsocket_sync", "samples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

OPENINGS = re.compile(r"(What|Whether|Who|Whom|Whose|Whoever|Where|How|Why)\b")
VARIABLES = {"one", "told", "said", "given", "wanted"}
BANNED = re.compile(
    r"\b(anew|for ever|whoever|whomever|whosoever|nobody|somebody|farewell|bidden|bade|thereof|hitherto|lest|shan't"
    r"|in its stead|give up a subscription|is no longer wanted|tells whether|says whether"
    r"|(?<!there )(is|are) no (?!longer\b|more\b|less\b|fewer\b|such\b|way\b|need\b|room\b|link\b)\w+)\b",
    re.IGNORECASE,
)
COMMENTS = range(5, 9)
"""Per cent of the lines of the package, blank lines not counted."""


def name_of(path: Path) -> str:
    """Return the path below the root of the checkout."""
    return path.relative_to(ROOT).as_posix()


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each docstring with its line."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def variables(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each name that is bound: variables, parameters, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment and each text of a module, with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


def outside_of_code(page: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page that are not in a block of code."""
    fenced = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, re.sub(r"`[^`]*`", "", line)


def test_a_docstring_opens_with_a_verb_or_a_noun() -> None:
    """Never with a question word: the reader wants to know what a name does, not that it does something."""
    assert not [
        f"{name_of(path)}:{line}: {text.splitlines()[0]}"
        for path in SOURCES
        for line, text in docstrings(ast.parse(path.read_text()))
        if OPENINGS.match(text)
    ]


def test_a_variable_is_named_after_what_it_holds() -> None:
    """A name that fits everything says nothing."""
    assert not [
        f"{name_of(path)}:{line}: {name}"
        for path in (*SOURCES, *TESTS)
        for line, name in variables(ast.parse(path.read_text()))
        if name.strip("_") in VARIABLES
    ]


def test_comments_docstrings_and_messages_are_plain_english() -> None:
    """A native reader understands each sentence at the first reading."""
    assert not [
        f"{name_of(path)}:{line}: {text.strip()}"
        for path in SOURCES
        for line, text in prose(path.read_text())
        if BANNED.search(text)
    ]


def test_pages_are_plain_english() -> None:
    """The same holds for what users read first."""
    assert not [
        f"{name_of(path)}:{line}: {text.strip()}"
        for path in PAGES
        for line, text in outside_of_code(path.read_text())
        if BANNED.search(text)
    ]


def test_no_two_classes_share_a_name() -> None:
    """One word, one idea: a name that is seen in a traceback leads to one place."""
    homes = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name_of(path))
    assert not {name: places for name, places in homes.items() if len(places) > 1}


def test_reasons_stand_on_the_lines_that_they_protect() -> None:
    """Comments are between five and eight of a hundred lines: races, invariants, sections of an RFC."""
    comments = lines = 0
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text()
        lines += sum(bool(line.strip()) for line in source.splitlines())
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments += sum(token.type == tokenize.COMMENT for token in tokens)
    assert COMMENTS.start <= 100 * comments / lines < COMMENTS.stop
