"""Lines from whoever types, with completion and history where there is a terminal and a readline; from a pipe else."""

from __future__ import annotations

import sys
from typing import TextIO

from .history import History
from .outcome import is_terminal
from .talk import VERBS

try:
    import readline
except ImportError:  # Windows has none, and neither have some builds
    readline = None  # type: ignore[assignment]

PROMPT = "> "


class Prompt:
    """Asks for lines.

    Args:
        history: of the runs before, and of this one.

    Attributes:
        interactive: whether somebody types.
        seen: the methods and events that were named so far; they complete.
    """

    def __init__(self, history: History) -> None:
        self.interactive = is_terminal(sys.stdin)
        self.seen: set[str] = set()
        self._history = history
        self._edits = self.interactive and is_terminal(sys.stdout) and readline is not None
        if self._edits:
            self._prepare()

    def _prepare(self) -> None:
        readline.set_auto_history(False)
        readline.clear_history()
        for line in self._history.load():
            readline.add_history(line)
            self._remember(line)
        readline.set_completer_delims(" \t")
        readline.set_completer(self._complete)
        libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")

    def _remember(self, line: str) -> None:
        words = line.split()
        if len(words) > 1 and words[0] in VERBS and VERBS[words[0]].names and words[1].isprintable():
            self.seen.add(words[1])

    def _complete(self, text: str, state: int) -> str | None:
        before = readline.get_line_buffer()[: readline.get_begidx()].split()
        found = self.candidates(before, text)
        return found[state] + " " if state < len(found) else None

    def candidates(self, before: list[str], text: str) -> list[str]:
        """What a word may become that is behind these others."""
        if not before:
            pool = set(VERBS)
        elif len(before) == 1 and before[0] in VERBS and VERBS[before[0]].names:
            pool = self.seen
        else:
            return []
        return sorted(word for word in pool if word.startswith(text))

    def read(self, stdin: TextIO) -> str | None:
        """The next line, ``None`` at the end."""
        try:
            line = input(PROMPT) if self._edits else self._read_plainly(stdin)
        except EOFError:
            return None
        if line is not None and self._edits and line.strip():
            readline.add_history(line.strip())
            self._history.add(line.rstrip())
            self._remember(line)
        return line

    def _read_plainly(self, stdin: TextIO) -> str | None:
        if self.interactive:
            sys.stderr.write(PROMPT)
            sys.stderr.flush()
        return stdin.readline() or None
