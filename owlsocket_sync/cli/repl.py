"""``owlsocket repl``: an interactive session on one connection."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from urllib.parse import unquote

import click

from .. import Backoff, Connection, ConnectionState
from ..contrib.exit_codes import ExitCode, error_text, exit_code
from ..urls import secrets_of, strip_token_scheme
from .address import UrlCommand
from .connect_options import ConnectOptions, client_command
from .history import History, history_file
from .output import BrokenStdout, print_error, print_status
from .payloads import open_stdin
from .prompt import Prompt
from .repl_commands import ExitRepl, ReplSession
from .repl_syntax import ReplSyntaxError, split


@click.command(cls=UrlCommand)
@client_command
def repl(options: ConnectOptions) -> ExitCode:
    """Talk to a server line by line, on one connection.

    \b
    owlsocket repl ws://localhost:8080
    > call add 2 3
    > call echo {"name": "Ada"}
    > listen tick 3
    > help

    Arguments are JSON, or text if they are not valid JSON; no shell quoting is needed. Tab completes commands, and the
    names of methods and events used before. Lines are kept in owlsocket/history under $XDG_STATE_HOME or
    ~/.local/state, readable by you only; a line that begins with a space, or seems to contain a secret, is not kept.
    The session reconnects when the connection is lost.

    Lines may come from a pipe; the exit code is then that of the first line that failed.
    """
    secrets = [unquote(secret) for secret in secrets_of(options.url)]
    if options.token is not None:
        secrets.append(strip_token_scheme(options.token))
    # Raises where stdin is closed, before anything is connected.
    open_stdin()
    prompt = Prompt(History(history_file(), secrets))
    # Unlike the other commands, which end so that a script can decide; a session has history and a user who waits.
    with options.connected(reconnect=Backoff()) as connection:
        if prompt.interactive:
            print_status(f"connected to {connection.url}; help lists the commands, Ctrl-D ends the session")
        return _run_session(ReplSession(connection, options.timeout, prompt.seen), connection, prompt)


def _run_session(session: ReplSession, connection: Connection, prompt: Prompt) -> ExitCode:
    """Execute line after line; an error ends its line only."""
    first_error = ExitCode.OK
    for line in _lines(connection, prompt):
        try:
            session.execute(split(line))
        except ExitRepl:
            break
        except KeyboardInterrupt:
            # At a terminal, Ctrl-C interrupts the command; in a script, the script.
            if not prompt.interactive:
                raise
            print_status("interrupted")
        except BrokenStdout:
            raise
        except Exception as error:
            code = print_error(_text_of(error), _code_of(error))
            first_error = first_error or code
    return ExitCode.OK if prompt.interactive else first_error


def _lines(connection: Connection, prompt: Prompt) -> Iterator[str]:
    """Yield the lines, without blank ones and comments, until the input or the connection ends."""
    # While reconnecting the session goes on: the next command waits for the link, as long as the timeout.
    while connection.state is not ConnectionState.CLOSED:
        try:
            line = prompt.read(sys.stdin)
        except KeyboardInterrupt:
            if not prompt.interactive:
                raise
            print_status("")
            continue
        if line is None:
            return
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _text_of(error: Exception) -> str:
    return error.format_message() if isinstance(error, click.ClickException) else error_text(error)


def _code_of(error: Exception) -> ExitCode:
    return ExitCode.USAGE if isinstance(error, (ReplSyntaxError, click.ClickException)) else exit_code(error)
