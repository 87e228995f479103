"""``owlsocket repl``: one connection, and a line for each thing that is done on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from urllib.parse import unquote

import click

from .. import Backoff, Connection, ConnectionState
from ..urls import bare_token, secrets_of
from .address import UrlCommand
from .history import History, history_file
from .outcome import Exit, NobodyReads, describe, exit_code, say
from .payloads import open_stdin
from .prompt import Prompt
from .reach import Reach, client_command
from .sentence import Misspoken, split
from .talk import Done, Talk


@click.command(cls=UrlCommand)
@client_command
def repl(reach: Reach) -> Exit:
    """Talk to a server line by line, on one connection.

    \b
    owlsocket repl ws://localhost:8080
    > call add 2 3
    > call echo {"name": "Ada"}
    > listen tick 3
    > help

    Arguments are JSON, or text where they are none; nothing has to be quoted for a shell. Tab completes verbs, and the
    methods and events that were seen. Lines are kept in owlsocket/history under $XDG_STATE_HOME or ~/.local/state, for
    you alone; one that begins with a blank, or seems to hold a secret, is not. A connection that is lost comes back.

    Lines from a pipe work too; the exit code is then that of the first line that failed.
    """
    secrets = [unquote(secret) for secret in secrets_of(reach.url)]
    if reach.token is not None:
        secrets.append(bare_token(reach.token))
    open_stdin()
    prompt = Prompt(History(history_file(), secrets))
    with reach.connected(reconnect=Backoff()) as connection:
        if prompt.interactive:
            say(f"connected to {connection.url}; help tells more, Ctrl-D ends")
        return _converse(Talk(connection, reach.timeout, prompt.seen), connection, prompt)


def _converse(talk: Talk, connection: Connection, prompt: Prompt) -> Exit:
    """Take line after line; what fails ends its line only."""
    first = Exit.OK
    for line in _lines(connection, prompt):
        try:
            talk.say(split(line))
        except Done:
            break
        except KeyboardInterrupt:
            if not prompt.interactive:
                raise
            say("interrupted")
        except NobodyReads:
            raise
        except Exception as error:
            code = _code_of(error)
            say(_words_of(error), code)
            first = first or code
    return Exit.OK if prompt.interactive else first


def _lines(connection: Connection, prompt: Prompt) -> Iterator[str]:
    """What is typed, until its end, or that of the connection for good."""
    while connection.state is not ConnectionState.CLOSED:
        try:
            line = prompt.read(sys.stdin)
        except KeyboardInterrupt:
            if not prompt.interactive:
                raise
            say("")
            continue
        if line is None:
            return
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _words_of(error: Exception) -> str:
    return error.format_message() if isinstance(error, click.ClickException) else describe(error)


def _code_of(error: Exception) -> Exit:
    return Exit.USAGE if isinstance(error, (Misspoken, click.ClickException)) else exit_code(error)
