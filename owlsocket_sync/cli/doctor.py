"""``owlsocket doctor``: the way to a server step by step, how long each takes, and what to do where it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from .. import AuthError, ResilientError, SocketConnectionError, SocketTimeout, SocketUnauthorized
from ..deadline import Deadline
from ..transport.dial import proxy_for
from ..transport.probe import Probe
from ..urls import bare_token, parse, whole_token
from .address import UrlCommand
from .advice import advise
from .outcome import Exit, NotConnected, describe, exit_code, report
from .reach import Reach, client_command

WATCH_SECONDS = 0.3

Walk = Iterator[tuple[str, Callable[[], str]]]

_ELSE = {
    "dns": "look at the spelling of the host, and at the network of this machine",
    "tcp": "look at the port, at the firewalls in between, and whether the server is running",
    "proxy": "look at the address of the proxy, and whether it may connect to that host and port",
    "tls": "look whether the server speaks TLS 1.2 or newer on this port; ws:// is for one that speaks none",
    "upgrade": "look at the path of the URL, at what stands in front of the server, and into its log",
    "auth": "give a token that is valid now, with --token-env or --token-file; owlsocket login prints one",
    "round trip": "the server took the connection and let it go, or hangs; its log may tell why",
}


@click.command(cls=UrlCommand)
@client_command
def doctor(reach: Reach) -> Exit:
    """Walk to a server step by step, and tell what to do where the walk ends.

    \b
    owlsocket doctor ws://localhost:8080
    owlsocket doctor wss://api.example.com/ws --token-env TOKEN
    owlsocket doctor wss://staging.example.com/ws --ca staging.pem --proxy env

    The steps: dns, tcp, proxy and tls where they are on the way, upgrade, auth, round trip. Each is
    {"step", "ok", "ms", "detail"}, or {"step", "ok": false, "ms", "error", "advice"}; in words in front of a terminal.
    No method is called. The exit code is that of the step that failed.
    """
    return Doctor(reach).examine()


class Doctor:
    """Walks one way, once."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        token = reach.token
        self._target = parse(reach.url, token=None if token is None else bare_token(token))
        try:
            self._proxy = proxy_for(self._target, reach.proxy)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    def examine(self) -> Exit:
        """Walk, telling of each step; the exit code of where it ended."""
        headers = dict(self._reach.headers)
        if self._reach.token is not None:
            headers = {"Authorization": whole_token(self._reach.token), **headers}
        deadline = Deadline(self._reach.timeout)
        context = self._reach.ssl_context
        with Probe(self._target, deadline, proxy=self._proxy, ssl_context=context, headers=headers) as probe:
            for name, step in self._way(probe):
                if failed := self._take(name, step):
                    return failed
        return self._take("round trip", self._round_trip) or Exit.OK

    def _way(self, probe: Probe) -> Walk:
        yield "dns", lambda: ", ".join(probe.resolve())
        yield "tcp", probe.connect
        if self._proxy is not None:
            yield "proxy", probe.tunnel
        if self._target.secure:
            yield "tls", probe.encrypt
        verdict: list[ResilientError] = []
        yield "upgrade", lambda: _upgrade(probe, verdict)
        yield "auth", lambda: self._judge(verdict)

    def _take(self, name: str, step: Callable[[], str]) -> Exit | None:
        """Take one step and tell of it; the exit code where it failed."""
        began = time.perf_counter()
        try:
            detail = step()
        except ResilientError as error:
            return self._tell_failure(name, error, _ms(began))
        ms = _ms(began)
        report({"step": name, "ok": True, "ms": ms, "detail": detail}, f"ok  {name:<10} {ms:>9.1f} ms  {detail}")
        return None

    def _tell_failure(self, name: str, error: ResilientError, ms: float) -> Exit:
        cause = error.reason if isinstance(error, NotConnected) else error
        words, advice = describe(cause), advise(cause, self._reach.url) or _ELSE[name]
        told: dict[str, Any] = {"step": name, "ok": False, "ms": ms, "error": words, "advice": advice}
        report(told, f"no  {name:<10} {ms:>9.1f} ms  {words}\n    {advice}")
        return exit_code(NotConnected(cause, self._reach.url))

    def _judge(self, verdict: list[ResilientError]) -> str:
        if verdict:
            raise verdict[0]
        return (
            "no token was given, and none asked for" if self._reach.token is None else "the token did not keep us out"
        )

    def _round_trip(self) -> str:
        with self._reach.connected() as connection:
            seconds = connection.ping(self._reach.timeout)
            try:
                ending = connection.wait_closed(WATCH_SECONDS)
            except SocketTimeout:
                return f"a ping was answered after {seconds * 1000:.1f} ms"
        why = f"{ending.code} {ending.reason}".strip()
        raise SocketConnectionError(f"the server closed the connection as soon as it was there: {why}")


def _upgrade(probe: Probe, verdict: list[ResilientError]) -> str:
    """Ask for the upgrade; a refusal of who we are is kept for the next step: the server is there, and has answered."""
    try:
        return probe.upgrade()
    except ResilientError as error:
        status = getattr(error, "status", None)
        if status not in (401, 403) and not isinstance(error, (AuthError, SocketUnauthorized)):
            raise
        verdict.append(error)
        return f"the server answers with HTTP {status}"


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
