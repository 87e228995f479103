"""The table of commands: which module has which; it is imported once its command is run."""

from __future__ import annotations

import logging
from importlib import import_module

import click

from .. import __version__
from .arguments import PlainGroup
from .outcome import log_to_stderr

HOMES = {
    "call": "verbs",
    "submit": "submit",
    "notify": "verbs",
    "request": "verbs",
    "listen": "listen",
    "queue": "queue",
    "ping": "ping",
    "doctor": "doctor",
    "bench": "bench",
    "repl": "repl",
    "serve": "serving",
    "demo": "serving",
    "keys": "identity",
    "login": "identity",
    "completion": "completion",
}


class LazyGroup(PlainGroup):
    """A group whose commands are imported when they are asked for, so that each costs only itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, those first that are needed most."""
        return list(HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        home = HOMES.get(cmd_name)
        return None if home is None else getattr(import_module(f".{home}", __package__), cmd_name)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 1 the peer answered with an error, 2 usage, 3 no connection, 4 timeout, "
    "5 authentication, 130 interrupted.",
)
@click.version_option(__version__, "--version", prog_name="owlsocket")
@click.option("-v", "--verbose", is_flag=True, help="Tell on stderr what the connection does.")
def owlsocket(verbose: bool) -> None:
    """Talk to a server that speaks @owlmeans/socket.

    \b
    owlsocket serve --port 8080 &
    owlsocket call ws://localhost:8080 add 2 3
    export OWLSOCKET_URL=ws://localhost:8080
    owlsocket call echo '{"name": "Ada"}'
    owlsocket listen heard --limit 1
    owlsocket doctor

    The URL comes first; it may be left out where OWLSOCKET_URL is set. Results are JSON on stdout, one line each;
    everything else is on stderr.
    """
    if verbose:
        log_to_stderr(logging.INFO)
