"""The table of commands: each is imported when it runs, so that a command costs the imports of its own module only."""

from __future__ import annotations

import logging
from importlib import import_module

import click

from .. import __version__
from .arguments import PlainGroup
from .output import log_to_stderr

MODULES = {
    "call": "verbs",
    "submit": "submit",
    "notify": "verbs",
    "request": "verbs",
    "listen": "listen",
    "queue": "queue",
    "hub": "hub",
    "ping": "ping",
    "doctor": "doctor",
    "bench": "bench",
    "describe": "contract",
    "stub": "contract",
    "repl": "repl",
    "serve": "serving",
    "demo": "serving",
    "keys": "identity",
    "login": "identity",
    "completion": "completion",
}
"""The module of each command, the most used first: the help lists the commands in this order."""


class LazyGroup(PlainGroup):
    """A group that imports a command when it is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the table."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, or ``None``."""
        module = MODULES.get(cmd_name)
        return None if module is None else getattr(import_module(f".{module}", __package__), cmd_name)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 1 the peer answered with an error, 2 usage, 3 no connection, 4 timeout, "
    "5 authentication, 130 interrupted.",
)
@click.version_option(__version__, "--version", prog_name="owlsocket")
# Every command that connects has the option, too: users write it before the command or after it.
@click.option("-v", "--verbose", is_flag=True, help="Log what the connection does on stderr.")
def owlsocket(verbose: bool) -> None:
    """Talk to a server that speaks @owlmeans/socket.

    \b
    owlsocket serve --port 8080 &
    owlsocket call ws://localhost:8080 add 2 3
    export OWLSOCKET_URL=ws://localhost:8080
    owlsocket call echo '{"name": "Ada"}'
    owlsocket listen heard --limit 1
    owlsocket doctor

    The URL comes first; it may be omitted where OWLSOCKET_URL is set. Results are JSON on stdout, one line each;
    everything else is on stderr.
    """
    # An error that has no caller is one line without a traceback, as each error of a command is.
    log_to_stderr(logging.INFO if verbose else logging.ERROR)
