"""``owlsocket queue`` on a store: look into it, put messages there and take them, and care for dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contrib.exit_codes import ExitCode
from ..places import REDIS, SQLITE
from ..stores.urls import parse_store
from ..urls import redact
from .arguments import Seconds
from .output import print_error, print_json
from .payloads import loads, read_arguments

if TYPE_CHECKING:
    from ..stores import Queue, Store
    from ..stores.urls import StorePlace

SUFFIXES = (".db", ".sqlite", ".sqlite3")
_SQLITE = b"SQLite format 3\0"


def is_store(word: str) -> bool:
    """Return whether an argument names a store: a Redis, an SQLite file, or the name of one to be made."""
    if word.startswith((SQLITE, *REDIS)):
        return True
    try:
        with open(word, "rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE or word.endswith(SUFFIXES)
    except (OSError, ValueError):
        return word.endswith(SUFFIXES)


def open_store(name: str, *, create: bool = False) -> tuple[Store, StorePlace]:
    """Return the store that an argument names, and its place.

    Args:
        name: the path of its file, or a URL as of `owlsocket_sync.stores.open_queue`.
        create: make one where there is none.

    Raises:
        click.UsageError: there is none.
    """
    try:
        if name.startswith(("ws://", "wss://")):
            command = click.get_current_context().info_name
            raise click.UsageError(f"{redact(name)}: this is the URL of a server, and {command} is for stores")
        place = parse_store(name)
        if not create and not place.is_redis and not Path(place.where).is_file():
            raise click.UsageError(f"{name}: there is no such store")
        return place.open(), place
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@contextmanager
def opened(store: str, name: str | None) -> Iterator[Queue]:
    """Open a queue of a store that is there; the only one, where it is not named."""
    opened_store, place = open_store(store)
    name = name or place.queue
    with opened_store as found:
        names = found.queues()
        if name is None and len(names) != 1:
            listed = ", ".join(names) or "none"
            raise click.UsageError(f"{place.shown} has these queues: {listed}; name one of them")
        if name is not None and name not in names:
            listed = ", ".join(names) or "none"
            raise click.UsageError(f"{place.shown} has no queue {name!r}; it has these: {listed}")
        yield found.queue(name or names[0])


def store_command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments STORE and NAME to a command, which gets the queue instead."""

    @click.argument("store")
    @click.argument("name", required=False)
    @wraps(function)
    def command(store: str, name: str | None, **values: Any) -> Any:
        with opened(store, name) as queue:
            return function(queue, **values)

    return command


@click.command("ls")
@click.argument("store")
def list_queues(store: str) -> None:
    """Print the state of each queue of STORE, which is the path of a file, or the URL of a Redis.

    \b
    owlsocket queue ls queue.db
    owlsocket queue ls redis://localhost:6379/0
    """
    with open_store(store)[0] as found:
        for name in found.queues():
            stats = found.queue(name).stats
            print_json(
                {
                    "queue": name,
                    "depth": stats.depth,
                    "in_flight": stats.in_flight,
                    "dead": stats.dead,
                    "bytes": stats.bytes,
                    "oldest_age": round(stats.oldest_age, 3),
                }
            )


@click.command()
@store_command
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Print so many messages.")
def peek(queue: Queue, limit: int) -> None:
    """Print the first messages of the queue NAME of STORE, without taking them.

    \b
    owlsocket queue peek queue.db orders --limit 3

    NAME may be omitted where the store has one queue only, here and in the other commands.
    """
    for message in queue.peek(limit):
        print_json({"payload": message.payload, "id": message.id})


@click.command("push")
@click.argument("store")
@click.argument("name", required=False, metavar="NAME")
@click.argument("payloads", nargs=-1, metavar="PAYLOAD...")
@click.option("--id", metavar="ID", help="The id of the message; for one PAYLOAD only.")
@click.option("--delay", type=Seconds(), default=0.0, help="Seconds before which it is not delivered.")
def push_to_store(store: str, name: str | None, payloads: tuple[str, ...], id: str | None, delay: float) -> None:
    """Put each PAYLOAD on the queue NAME of STORE, in order; a store that is not there is made.

    \b
    owlsocket queue push queue.db orders '{"order": 7}' --id o-7

    PAYLOAD is JSON, or text if it is not valid JSON; @FILE reads it from a file, - from stdin. NAME must not be
    a JSON object, list or number, unless a queue of this name is there.
    """
    if name is None or (_is_json(name) and not _has_queue(store, name)):
        raise click.UsageError(
            f"NAME is missing before {name or 'the PAYLOAD'}: the arguments are STORE NAME PAYLOAD..."
        )
    if not payloads:
        raise click.UsageError("PAYLOAD is missing: the arguments are STORE NAME PAYLOAD...")
    if id is not None and len(payloads) > 1:
        raise click.UsageError("--id is for one PAYLOAD only")
    values = read_arguments(payloads)
    with open_store(store, create=True)[0] as found:
        for value in values:
            print_json({"id": found.queue(name).put(value, id, delay)})


def _is_json(name: str) -> bool:
    """Return whether the name of a queue is rather a payload: an object, a list or a number."""
    try:
        # Not true, null or a text in quotes: these are words, and a payload is seldom one of them.
        return type(loads(name)) in (dict, list, int, float)
    except (ValueError, click.UsageError):
        return False


def _has_queue(store: str, name: str) -> bool:
    try:
        with open_store(store)[0] as found:
            return name in found.queues()
    except click.UsageError:  # there is no such store yet
        return False


@click.command("pull")
@store_command
@click.option("--limit", type=click.IntRange(min=1), help="End after this many messages.")
@click.option(
    "--timeout", type=Seconds(), default=0.0, show_default=True, help="Seconds to wait for each message; inf."
)
def pull_from_store(queue: Queue, limit: int | None, timeout: float) -> ExitCode:
    """Take messages from the queue NAME of STORE, and print each one; what is printed is acknowledged.

    \b
    owlsocket queue pull queue.db orders --limit 1

    No message at all is a timeout, exit code 4. Limit the number of messages by --limit, and not by head: what is in
    the pipe when head ends was printed, and is gone.
    """
    count = 0
    for message in queue.messages(timeout=timeout, limit=limit, max_attempts=None):
        print_json({"payload": message.payload, "id": message.id, "attempts": message.attempts})
        count += 1
    return ExitCode.OK if count else print_error(f"no message within {timeout:g} s", ExitCode.TIMEOUT)


@click.command()
@store_command
def dead(queue: Queue) -> None:
    """Print the dead letters of the queue NAME of STORE.

    \b
    owlsocket queue dead queue.db orders
    """
    for letter in queue.dead_letters():
        print_json({"payload": letter.payload, "id": letter.id, "attempts": letter.attempts, "reason": letter.reason})


@click.command()
@store_command
@click.option("--id", "ids", multiple=True, metavar="ID", help="Those with this id only; may be repeated.")
def requeue(queue: Queue, ids: tuple[str, ...]) -> ExitCode:
    """Put the dead letters of the queue NAME of STORE back at its end, and print how many those were.

    \b
    owlsocket queue requeue queue.db orders --id o-7
    """
    letters = [letter for letter in queue.dead_letters() if not ids or letter.id in ids]
    for letter in letters:
        queue.requeue(letter)
    print_json({"requeued": len(letters)})
    missing = set(ids) - {letter.id for letter in letters}
    if missing:
        return print_error(f"no dead letter has the id {', '.join(sorted(missing))}", ExitCode.USAGE)
    return ExitCode.OK


@click.command()
@store_command
@click.option("--dead", is_flag=True, help="Delete the dead letters instead.")
def purge(queue: Queue, dead: bool) -> None:
    """Delete the messages that wait in the queue NAME of STORE, and print how many those were.

    \b
    owlsocket queue purge queue.db orders --dead
    """
    print_json({"purged": queue.purge(dead=dead)})
