"""Annotations of Python 3.14, which are evaluated when they are asked for: in modules without the future import."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from owlsocket_sync.testing import pair

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="this Python evaluates annotations where they are written"
)

SOURCE = """
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shop import Article


def price(article: Article, *more: Article) -> Article:
    return article


class Shop(Protocol):
    def price(self, article: Article) -> Article: ...


class Stock:
    def count(self, article: Article) -> Article:
        return article
"""


@pytest.fixture
def shop() -> dict[str, Any]:
    """The names of a module whose annotations name what exists for type checkers only."""
    names: dict[str, Any] = {"__name__": "shop"}
    exec(compile(SOURCE, "shop.py", "exec", dont_inherit=True), names)
    return names


def test_a_handler_needs_no_types(shop: dict[str, Any]) -> None:
    """It is registered and called; what its annotations mean is not asked for."""
    left, right = pair()
    with left, right:
        right.perform("price", shop["price"])
        right.observe("sold", lambda message: None)
        assert left.call("price", 7, timeout=5) == 7


def test_what_converts_by_annotations_says_where_types_belong(shop: dict[str, Any]) -> None:
    """As with annotations that are text."""
    left, right = pair()
    with left, right:
        with pytest.raises(TypeError, match=r"cannot be resolved: .* not within a function or under TYPE_CHECKING"):
            left.proxy(shop["Shop"])
        with pytest.raises(TypeError, match="cannot be resolved"):
            right.expose(shop["Stock"]())
