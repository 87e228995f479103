"""Each piece of code of users that the package calls, on whatever thread, raises what ends a thread: nothing hangs.

The scenario notes by name where code of users runs; then it runs once for each of them, which raises there.
"""

from __future__ import annotations

import asyncio
import threading

import pytest

from support.everything import Everything, package_threads
from support.helpers import eventually, whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXITS: list[type[BaseException]] = [SystemExit, asyncio.CancelledError, GeneratorExit, ValueError]
EXPECTED = {"server handler", "server admission", "client url", "client token", "client auth", "client setup"} | {
    f"{side} {kind}"
    for side in ("client", "server")
    for kind in ("perform", "observe", "listen", "on_state", "authenticate", "prepare", "instrument on_message")
}


def names() -> list[str]:
    """Return the names of all code that the scenario calls, without errors."""
    seen: dict[str, None] = {}
    Everything(lambda name: seen.setdefault(name)).run()
    return list(seen)


@pytest.mark.parametrize("kind", EXITS[: whole(1, len(EXITS))], ids=lambda kind: kind.__name__)
@pytest.mark.stress
@pytest.mark.parametrize("always", [False, True], ids=["once", "each time"])
def test_code_of_users_ends_no_thread_of_the_package(
    kind: type[BaseException], always: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """Calls, closing and the next client go on; the threads end with their connections."""
    known = names()
    assert set(known) >= EXPECTED
    for name in known[always :: whole(6, 1)]:
        raised: list[str] = []
        lock = threading.Lock()

        def hook(called: str, name: str = name, raised: list[str] = raised, lock: threading.Lock = lock) -> None:
            with lock:
                if called != name or (raised and not always):
                    return
                raised.append(called)
            raise kind("no such table")

        try:
            Everything(hook, (kind,)).run()
            eventually(lambda: not package_threads(), 10)
        except BaseException as error:
            raise AssertionError(f"{kind.__name__} in {name}: {error!r}; threads {package_threads()}") from error
        assert raised
