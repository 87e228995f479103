"""The page of guarantees tells what the tests hold, no more and no less."""

from __future__ import annotations

import ast
import re

import pytest

from support import guarantees


@pytest.mark.slow
def test_every_row_is_held_by_a_test() -> None:
    """Thirty-four rows, none without."""
    held = {row for test in guarantees.held() for row in test.rows}
    assert list(guarantees.ROWS) == list(range(1, 35))
    assert held == set(guarantees.ROWS)


@pytest.mark.slow
def test_the_table_is_made_of_what_was_seen() -> None:
    """Who adds a test, or sees new figures, makes the table anew: ``make figures``."""
    assert guarantees.page() == guarantees.PAGE.read_text(encoding="utf-8")


def test_the_short_form_in_the_readme_is_made_of_what_was_seen() -> None:
    """The worst of each figure, beside the limit that its test asserts."""
    assert guarantees.readme() == guarantees.README.read_text(encoding="utf-8")


def test_every_test_that_is_named_is_there() -> None:
    """No promise leads to a test that was renamed."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", guarantees.PAGE.read_text(encoding="utf-8"))
    assert len(named) > 5
    for file, name in named:
        tree = ast.parse((guarantees.TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, (file, name)
