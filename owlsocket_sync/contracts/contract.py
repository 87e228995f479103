"""`Contract`: what a server cannot know of itself, and tells in its description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False, kw_only=True)
class Contract:
    """The part of a description that nothing registers, for ``serve(describe=Contract(...))``.

    Attributes:
        events: the events that the server sends: the type of the payload by the name of the event, ``None`` for an
            event without a payload, ``Any`` for any JSON value.

    Raises:
        ValueError: the events are not a mapping with names as keys.
        TypeError: JSON cannot be converted to the type of a payload.
    """

    events: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.events, Mapping) or not all(isinstance(name, str) for name in self.events):
            raise ValueError(f'events must be a mapping such as {{"tick": Tick}}, not {self.events!r}')
        # Here, and not when a client asks: the mistake is in the line that makes the contract.
        from ..protocol.types.adapter import compile_converter

        for name, payload_type in self.events.items():
            try:
                compile_converter(payload_type)
            except TypeError as error:
                raise TypeError(f"the payload of event {name!r}: {error}") from error


def check_describe(value: object) -> Contract | None:
    """Return the contract of the option ``describe``, ``None`` if it is off; raise `ValueError` for anything else."""
    # The server is told whether to answer by a flag, so that nothing has to be imported for that.
    if isinstance(value, bool):
        return Contract() if value else None
    if not isinstance(value, Contract):
        raise ValueError(f"describe must be True, False or a Contract, not {value!r}")
    return value
