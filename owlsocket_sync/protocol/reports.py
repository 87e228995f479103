"""Reports of errors that have no caller: what is told to ``on_error`` handlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..values import FieldwiseEq, shorten_name
from .messages import Message


@dataclass(frozen=True, eq=False, repr=False)
class ErrorContext(FieldwiseEq):
    """The place where something went wrong, for ``on_error`` handlers.

    Attributes:
        source: the verb at work: ``receive observe perform acknowledge request observe_response listen authenticate
            on_state on_error instrument auth connect``, or another word of the API.
        name: the event, method or id, where there is one.
        message: the message at hand, where there is one.
    """

    source: str
    name: str = ""
    message: Message | None = None

    def __str__(self) -> str:
        return f"{self.source} {shorten_name(self.name)}".rstrip()


class Report(Protocol):
    """Reports an error to ``on_error``; never raises, from any thread."""

    def __call__(self, error: BaseException, context: ErrorContext, text: str | None = None) -> None:
        """Report; ``text`` is what was received, where the error holds parts of it and the context no message."""
