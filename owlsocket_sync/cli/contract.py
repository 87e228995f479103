"""``owlsocket describe`` and ``stub``: the methods, events and types of a server, listed, or as source for callers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .address import UrlCommand
from .connect_options import ConnectOptions, client_command
from .output import print_line, print_report, print_status, print_warning


@click.command(cls=UrlCommand)
@client_command
def describe(options: ConnectOptions) -> None:
    """List the methods, events and types of a server.

    \b
    owlsocket serve --describe --port 8080 &
    owlsocket describe ws://localhost:8080
    owlsocket describe ws://localhost:8080 | jq '.methods | keys'

    On a terminal, the output is text, otherwise one line of JSON. Only a server of this library answers, and only if
    it was started with serve(describe=True); without an answer within --timeout the exit code is 4. Methods for a later
    stage of authentication than that of the token are not listed.
    """
    from ..contracts.listing import listing

    description = _fetch(options)
    print_report(description, "\n".join(listing(description)))


@click.command(cls=UrlCommand)
@client_command
@click.option("--typescript", is_flag=True, help="Write a .d.ts for callers with @owlmeans/socket.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="PATH", help="The file; default: stdout."
)
def stub(options: ConnectOptions, typescript: bool, out: Path | None) -> None:
    """Write the types of a server as source for callers, in Python or TypeScript.

    \b
    owlsocket stub ws://localhost:8080 --out shop_contract.py
    owlsocket stub ws://localhost:8080 --typescript --out shop.d.ts

    In Python, the file has a Protocol class for conn.proxy() and the types of arguments, results and events. The
    output is the same for the same server; see describe for which servers answer.
    """
    from ..contracts import python_stub, typescript_stub

    source = (typescript_stub if typescript else python_stub)(_fetch(options))
    if out is None:
        for line in source.splitlines():
            print_line(line)
        return
    try:
        out.write_text(source, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {out}: {error.strerror or error}") from error
    print_status(f"wrote {out}")


def _fetch(options: ConnectOptions) -> dict[str, Any]:
    from ..contracts import fetch_description

    with options.connected() as connection:
        description = fetch_description(connection, options.timeout)
    left_out = description.get("left_out")
    if left_out:
        print_warning(f"the server left out {left_out!r} methods or events: its description would be too long")
    return description
