"""The base class of the services that a `Context` holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import Context


class Service:
    """A named component of a `Context`; the base class for services of your own.

    Attributes:
        alias: name within the context.
        context: the context that the service is registered with; ``None`` before `Context.register`.

    Raises:
        ValueError: ``alias`` is empty or not a string.
    """

    def __init__(self, alias: str) -> None:
        if not isinstance(alias, str) or not alias:
            raise ValueError(f"alias must be a non-empty string, not {alias!r}")
        self.alias = alias
        self.context: Context | None = None

    def configure(self, context: Context) -> None:
        """Look up the other services; all of them are registered by now.

        Runs once, under the context's lock: must not block.

        Raises:
            ConfigError: a required service is missing.
        """

    def init(self) -> None:
        """Prepare for use; runs once, under the context's lock: must not block."""

    def close(self) -> None:
        """Release all resources; idempotent."""
