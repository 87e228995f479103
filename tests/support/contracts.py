"""A server with a contract: methods with all kinds of types, and the events that it sends."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

from owlsocket_sync import AuthenticationStage, Connection
from owlsocket_sync.contracts import Contract
from owlsocket_sync.server import Request

Item = TypeVar("Item")


class Size(Enum):
    """The sizes of a lantern."""

    SMALL = "small"
    LARGE = "large"


@dataclass
class Article:
    """An article of the shop."""

    name: str
    price: Decimal
    size: Size = Size.SMALL
    tags: set[str] = field(default_factory=set)
    parent: Article | None = None


@dataclass
class Page(Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next: int | None = None


class Point(NamedTuple):
    """A place on the plan."""

    x: float
    y: float


class Filter(TypedDict, total=False):
    """A choice of articles."""

    since: datetime
    kind: Literal["new", "used"]


class Tick(TypedDict):
    """A beat of the clock."""

    number: int
    at: datetime


class Shop:
    """Methods that are exposed."""

    def find(self, number: int, size: Size = Size.LARGE) -> Article | None:
        """Find an article.

        By its number.
        """
        return Article("lantern", Decimal("15.90"), size) if number == 7 else None

    def list(self, filter: Filter, limit: int = 20) -> Page[Article]:
        """List articles."""
        return Page([Article("lantern", Decimal("15.90"))])

    def place(self, article: Article, due: date | None = None, *notes: str) -> UUID:
        return UUID(int=7)

    def move(self, to: Point, picture: bytes = b"") -> tuple[int, str]:
        return 1, "moved"


def register(conn: Connection, request: Request) -> None:
    """Register the methods, those for authenticated clients among them."""
    conn.expose(Shop(), prefix="shop.")
    conn.perform("echo", lambda *values: values)

    @conn.perform("secret", stage=AuthenticationStage.AUTHENTICATED)
    def secret(code: int) -> str:
        """Tell a secret."""
        return "twoo"

    @conn.perform("get-user.class")
    def get(id: str) -> dict[str, Any]:
        return {}


CONTRACT = Contract(events={"tick": Tick, "moved": list[Point] | None, "closing": None})
