"""The history of the REPL: a file that only its owner can read, without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

MAX_LINES = 1000
PRIVATE_MODE = 0o600
# Rather too many than too few: a line that is not kept is typed again, a secret in the file is there for good.
_SECRET = re.compile(
    r"(?i)token|secret|passw|authorization|credential|bearer|api[_-]?key|private[_-]?key|ED25519-BASIC|eyJ[\w-]{8}"
)


def history_file() -> Path:
    """Return the path of the history (XDG base directory specification: state)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    # The specification: a relative path is invalid and ignored.
    base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return base / "owlsocket" / "history"


def is_secret(line: str, secrets: Iterable[str] = ()) -> bool:
    """Return whether a line must not be kept: it begins with a space, looks secret, or contains a known secret."""
    return line[:1].isspace() or bool(_SECRET.search(line)) or any(secret in line for secret in secrets if secret)


class History:
    """The lines of this session and of earlier ones; a file that cannot be read or written is ignored.

    Args:
        path: the file.
        secrets: known secrets; no line that contains one is kept.
    """

    def __init__(self, path: Path, secrets: Iterable[str] = ()) -> None:
        self._path = path
        self._secrets = tuple(secrets)

    def load(self) -> list[str]:
        """Return the lines of earlier sessions, and truncate the file to the last `MAX_LINES` of them."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        # Filtered again: a line may contain a token that is in use only now.
        kept = [line for line in lines if not is_secret(line, self._secrets)][-MAX_LINES:]
        if kept != lines:
            self._write(kept, os.O_TRUNC)
        return kept

    def add(self, line: str) -> None:
        """Append a line to the file at once, so that a session that is killed keeps its history."""
        if line and not is_secret(line, self._secrets):
            self._write([line], os.O_APPEND)

    def _write(self, lines: list[str], flag: int) -> None:
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # O_APPEND: two sessions at once append line by line, and do not overwrite each other.
            # The mode at creation, not afterwards: between open and chmod, others could open the file.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | flag, PRIVATE_MODE)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                os.chmod(self._path, PRIVATE_MODE)  # an existing file may be readable by others
                file.writelines(f"{line}\n" for line in lines)
