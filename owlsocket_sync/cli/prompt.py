"""The lines of the REPL: from a terminal with completion and history where readline is available, or from a pipe."""

from __future__ import annotations

import sys
from typing import TextIO

from .history import History
from .output import is_terminal
from .repl_commands import COMMANDS

try:
    import readline
except ImportError:  # Windows has none, and some builds of Python
    readline = None  # type: ignore[assignment]

PROMPT = "> "


class Prompt:
    """Reads lines.

    Args:
        history: the history to load and to append to.

    Attributes:
        interactive: whether stdin is a terminal.
        seen: the names of methods and events used so far, for completion.
    """

    def __init__(self, history: History) -> None:
        self.interactive = is_terminal(sys.stdin)
        self.seen: set[str] = set()
        self._history = history
        # readline draws the prompt on stdout, which must not be mixed into piped results.
        self._uses_readline = self.interactive and is_terminal(sys.stdout) and readline is not None
        if self._uses_readline:
            self._setup_readline()

    def _setup_readline(self) -> None:
        # `read` adds each line itself, without the whitespace around it; readline would add it a second time.
        readline.set_auto_history(False)
        readline.clear_history()
        for line in self._history.load():
            readline.add_history(line)
            self._remember(line)
        readline.set_completer_delims(" \t")
        readline.set_completer(self._complete)
        # macOS links libedit under the name of readline; its key bindings have another syntax.
        libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")

    def _remember(self, line: str) -> None:
        words = line.split()
        if len(words) > 1 and words[0] in COMMANDS and COMMANDS[words[0]].completes and words[1].isprintable():
            self.seen.add(words[1])

    def _complete(self, text: str, state: int) -> str | None:
        # readline calls it with 0, 1, 2 … until it returns None.
        before = readline.get_line_buffer()[: readline.get_begidx()].split()
        found = self.candidates(before, text)
        return found[state] + " " if state < len(found) else None

    def candidates(self, before: list[str], text: str) -> list[str]:
        """Return the completions of a word.

        Args:
            before: the words before it on the line.
            text: the part of the word that is typed.
        """
        if not before:
            pool = set(COMMANDS)
        elif len(before) == 1 and before[0] in COMMANDS and COMMANDS[before[0]].completes:
            pool = self.seen
        else:
            return []
        return sorted(word for word in pool if word.startswith(text))

    def read(self, stdin: TextIO) -> str | None:
        """Return the next line, ``None`` at the end of the input."""
        try:
            line = input(PROMPT) if self._uses_readline else self._read_plain(stdin)
        except EOFError:
            return None
        if line is not None and self._uses_readline and line.strip():
            readline.add_history(line.strip())
            # Not stripped at the left: a leading space keeps a line out of the file.
            self._history.add(line.rstrip())
            self._remember(line)
        return line

    def _read_plain(self, stdin: TextIO) -> str | None:
        if self.interactive:
            sys.stderr.write(PROMPT)
            sys.stderr.flush()
        return stdin.readline() or None
