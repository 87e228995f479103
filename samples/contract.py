"""A server that describes itself, and a client whose interface is checked: mypy and pyright know each type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from owlsocket_sync import Connection, connect
from owlsocket_sync.contracts import Contract, fetch_description, python_stub
from owlsocket_sync.server import Request, serve


@dataclass
class Owl:
    name: str
    age: int


class Owls(Protocol):
    """The interface that both ends share."""

    def find(self, name: str) -> Owl | None: ...

    def older_than(self, age: int) -> list[Owl]: ...


class Aviary:
    """The implementation."""

    def find(self, name: str) -> Owl | None:
        """Find an owl by its name."""
        return Owl(name, 7) if name == "Ada" else None

    def older_than(self, age: int) -> list[Owl]:
        return [Owl("Ada", 7), Owl("Bob", 9)]


def handler(conn: Connection, request: Request) -> None:
    conn.expose(Aviary(), prefix="owls.")


def main() -> None:
    """Call by the interface, and write the interface of a caller who does not have it."""
    with serve(handler, describe=Contract(events={"landed": Owl})) as server, connect(server.url) as conn:
        owls = conn.proxy(Owls, prefix="owls.")
        ada = owls.find("Ada")
        if ada is not None:
            print(ada.name, "is", ada.age)
        print([owl.name for owl in owls.older_than(5)])

        # The type of the result is that of `result_type`: here the checkers know that it may be None.
        eve = conn.call("owls.find", "Eve", result_type=Owl | None)
        print("Eve:", "not here" if eve is None else eve.name)

        stub = python_stub(fetch_description(conn))
        print(*(line for line in stub.splitlines() if line.startswith("    def ")), sep="\n")


if __name__ == "__main__":
    main()
