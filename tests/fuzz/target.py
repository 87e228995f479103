"""A reader of foreign bytes, as something that can be run on any input."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

Run = Callable[[bytes], None]
"""Reads one input, and raises where it does what it must not."""


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        name: what it is called, and its folder in the corpus.
        open: what it is read with, for as long as the context lasts.
        seeds: valid inputs, to which accidents happen.
        words: what the grammar of its inputs is made of.
    """

    name: str
    open: Callable[[], AbstractContextManager[Run]]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...]

    @property
    def corpus(self) -> list[Path]:
        """The inputs that are kept: odd ones, and whatever was once read wrongly."""
        return sorted((CORPUS / self.name).glob("*"))

    def inputs(self) -> list[bytes]:
        """All inputs to begin with."""
        return [*self.seeds(), *(path.read_bytes() for path in self.corpus)]


def pure(name: str, run: Run, seeds: Callable[[], list[bytes]], words: tuple[bytes, ...]) -> Target:
    """A reader that needs nothing around it."""
    return Target(name, lambda: nullcontext(run), seeds, words)


def as_text(data: bytes) -> str:
    """Any bytes as text, halves of surrogate pairs included."""
    return data.decode("utf-8", "surrogatepass" if _passes(data) else "surrogateescape")


def _passes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True
