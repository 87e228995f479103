"""``owlsocket doctor``: connect to a server step by step, with the time of each step, and a hint where one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from .. import AuthError, ResilientError, SocketConnectionError, SocketTimeout, SocketUnauthorized
from ..clock import perf_counter
from ..contrib.exit_codes import ExitCode, NotConnected, exit_code
from ..deadline import Deadline
from ..transport.proxies import proxy_for
from .address import UrlCommand
from .connect_options import ConnectOptions, client_command
from .hints import bare_text, hint_for
from .output import print_report
from .probe import Probe

WATCH_SECONDS = 0.3
"""How long the connection must stay open after the ping: some servers accept everyone and then close."""

Steps = Iterator[tuple[str, Callable[[], str]]]


@click.command(cls=UrlCommand)
@client_command
def doctor(options: ConnectOptions) -> ExitCode:
    """Connect step by step, and print what to do where a step fails.

    \b
    owlsocket doctor ws://localhost:8080
    owlsocket doctor wss://api.example.com/ws --token-env TOKEN
    owlsocket doctor wss://staging.example.com/ws --ca staging.pem --proxy env

    The steps: dns, tcp, proxy and tls where they apply, upgrade, auth, round trip. Each is
    {"step", "ok", "ms", "detail"}, or {"step", "ok": false, "ms", "error", "advice"}; text on a terminal.
    No method is called. The exit code is that of the step that failed.
    """
    return Doctor(options).examine()


class Doctor:
    """One examination of the connection to a server."""

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        try:
            # As `connect` sends it: the token bare in the query, with its scheme in the header.
            client_options = options.client_options()
            self._target = client_options.target(options.url, options.token)
            self._headers = client_options._request_headers(options.token)
            self._proxy = proxy_for(self._target, options.proxy)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    def examine(self) -> ExitCode:
        """Run and report each step, and return the exit code of the first that fails."""
        deadline = Deadline(self._options.timeout)
        context = self._options.ssl_context
        with Probe(
            self._target,
            deadline,
            proxy=self._proxy,
            ssl_context=context,
            headers=self._headers,
            subprotocols=self._options.subprotocols,
        ) as probe:
            for name, step in self._steps(probe):
                # The exit code of a failure is never 0, and so never false.
                if failed := self._run_step(name, step):
                    return failed
        # On a connection of its own: the probe has no heartbeat, and could not answer a ping of the server.
        return self._run_step("round trip", self._round_trip) or ExitCode.OK

    def _steps(self, probe: Probe) -> Steps:
        yield "dns", lambda: ", ".join(probe.resolve())
        yield "tcp", probe.connect
        if self._proxy is not None:
            yield "proxy", probe.tunnel
        if self._target.secure:
            yield "tls", probe.encrypt
        auth_errors: list[ResilientError] = []
        yield "upgrade", lambda: _upgrade(probe, auth_errors)
        yield "auth", lambda: self._check_auth(auth_errors)

    def _run_step(self, name: str, step: Callable[[], str]) -> ExitCode | None:
        """Run and report one step; return the exit code where it fails."""
        start = perf_counter()
        try:
            detail = step()
        except NotConnected as error:
            return self._report_failure(name, error.reason, _ms_since(start))
        except ResilientError as error:
            return self._report_failure(name, error, _ms_since(start))
        ms = _ms_since(start)
        print_report({"step": name, "ok": True, "ms": ms, "detail": detail}, f"ok  {name:<10} {ms:>9.1f} ms  {detail}")
        return None

    def _report_failure(self, name: str, error: BaseException, ms: float) -> ExitCode:
        text, hint = bare_text(error), hint_for(error, self._options.url, name)
        report: dict[str, Any] = {"step": name, "ok": False, "ms": ms, "error": text, "advice": hint}
        print_report(report, f"no  {name:<10} {ms:>9.1f} ms  {text}\n    {hint}")
        # As for every other command: an error before the connection is open has the exit code of NotConnected.
        return exit_code(NotConnected(error, self._options.url))

    def _check_auth(self, auth_errors: list[ResilientError]) -> str:
        if auth_errors:
            raise auth_errors[0]
        return "no token was sent, and none is required" if self._options.token is None else "the token was accepted"

    def _round_trip(self) -> str:
        with self._options.connected() as connection:
            seconds = connection.ping(self._options.timeout)
            try:
                close = connection.wait_closed(WATCH_SECONDS)
            except SocketTimeout:
                return f"a ping was answered after {seconds * 1000:.1f} ms"
        reason = f"{close.code} {close.reason}".strip()
        raise SocketConnectionError(f"the server closed the connection right after it was opened: {reason}")


def _upgrade(probe: Probe, auth_errors: list[ResilientError]) -> str:
    """Do the WebSocket handshake; a refused token is kept for the next step, since the server has answered."""
    try:
        return probe.upgrade()
    except ResilientError as error:
        status = getattr(error, "status", None)
        # A marshalled error in the body decides as well: servers send AuthError with other statuses, too.
        if status not in (401, 403) and not isinstance(error, (AuthError, SocketUnauthorized)):
            raise
        auth_errors.append(error)
        return f"the server answers with HTTP {status}"


def _ms_since(start: float) -> float:
    return round((perf_counter() - start) * 1000, 3)
