"""What was typed into the REPL before: in a file of its owner's, and never with a secret in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

MOST_LINES = 1000
PRIVATE_MODE = 0o600
_SECRET = re.compile(
    r"(?i)token|secret|passw|authorization|credential|bearer|api[_-]?key|private[_-]?key|ED25519-BASIC|eyJ[\w-]{8}"
)


def history_file() -> Path:
    """Where it is (XDG base directories: state)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "owlsocket" / "history"


def is_secret(line: str, secrets: Iterable[str] = ()) -> bool:
    """Whether a line is not to be kept: it begins with a blank, looks like a secret, or holds one that is known."""
    return line[:1].isspace() or bool(_SECRET.search(line)) or any(secret in line for secret in secrets if secret)


class History:
    """The lines of this run and of those before; one that cannot be kept is no reason to fail.

    Args:
        path: the file.
        secrets: what no line may hold.
    """

    def __init__(self, path: Path, secrets: Iterable[str] = ()) -> None:
        self._path = path
        self._secrets = tuple(secrets)

    def load(self) -> list[str]:
        """The lines of the runs before; the file is cut to the last of them."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        kept = [line for line in lines if not is_secret(line, self._secrets)][-MOST_LINES:]
        if kept != lines:
            self._write(kept, os.O_TRUNC)
        return kept

    def add(self, line: str) -> None:
        """Keep a line, at once, so that nothing is lost when we are killed."""
        if line and not is_secret(line, self._secrets):
            self._write([line], os.O_APPEND)

    def _write(self, lines: list[str], how: int) -> None:
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | how, PRIVATE_MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                os.chmod(self._path, PRIVATE_MODE)  # one that was there before may be open to others
                file.writelines(f"{line}\n" for line in lines)
