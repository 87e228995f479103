"""The HTTP session of one login: what it reads of the environment, and how a thread that waits in it is freed.

Threads: the HTTP thread sends; any thread may call `LoginSession.abort`. ``_lock`` guards the list of handles.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from ..reentrant import make_lock
from ..urls import split_proxy

ENVIRONMENT = "env"
SHUT_RDWR = 2  # the value of socket.SHUT_RDWR on every system


class LoginSession(requests.Session):
    """A session that reads nothing of the environment, except its proxy where that is asked for.

    Args:
        proxy: the URL of an HTTP proxy, ``"env"`` for the proxy of the environment, ``None`` for none.
    """

    def __init__(self, proxy: str | None = None) -> None:
        super().__init__()
        # Otherwise requests would use proxies of the environment, and send passwords of ~/.netrc, unasked.
        self.trust_env = False
        self._env_proxy = proxy == ENVIRONMENT
        if proxy is not None and not self._env_proxy:
            self.proxies = {"http": proxy, "https": proxy}
        self._lock = make_lock()
        self._handles: list[Any] = []
        self._aborted = False
        self.mount("http://", LoginAdapter(self._on_socket, encrypted=False))

    def get_adapter(self, url: Any) -> Any:
        """Return the adapter for a URL; the one that encrypts is created at its first use."""
        adapter = super().get_adapter(url)
        if isinstance(adapter, LoginAdapter):
            return adapter
        self.mount("https://", LoginAdapter(self._on_socket, encrypted=True))
        return super().get_adapter(url)

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Return the settings of a request, with the proxy of the environment where that is asked for."""
        if self._env_proxy:
            proxies = get_environ_proxies(url)
        return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def abort(self) -> None:
        """End all connections, so that a thread that waits for a server returns at once; from any thread."""
        with self._lock:
            self._aborted = True
            handles, self._handles = self._handles, []
        for handle in handles:
            _shut_down(handle)

    def close(self) -> None:
        """Close all connections."""
        super().close()
        self.abort()

    def _on_socket(self, sock: Any) -> None:
        # A second descriptor of the connection: TLS detaches the first one, and the HTTP library may close it, and
        # its number be used again, while another thread aborts.
        handle = sock.dup()
        with self._lock:
            if not self._aborted:
                self._handles.append(handle)
                return
        _shut_down(handle)


class LoginAdapter(HTTPAdapter):
    """HTTP, and HTTPS with TLS 1.2 or newer, certificate and host name verified; also through a proxy.

    Args:
        on_socket: called with the socket of each new connection, before anything is sent.
        encrypted: it is for ``https://`` URLs. Others need no TLS context, which takes 25 ms to load the system's
            certificates.
    """

    def __init__(self, on_socket: Callable[[Any], None], *, encrypted: bool) -> None:
        # Before the constructor of requests, which makes the pool manager.
        self._on_socket = on_socket
        self._encrypted = encrypted
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Create the connection pools, with our TLS context."""
        if self._encrypted:
            options["ssl_context"] = _tls_context()
        super().init_poolmanager(*arguments, **options)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        """Return the connection pools of a proxy, with our TLS context."""
        manager = super().proxy_manager_for(proxy, ssl_context=_tls_context(), **options)
        self._watch(manager)
        return manager

    def _watch(self, manager: Any) -> None:
        """Have `on_socket` called for the connections of these pools."""
        # urllib3 names the classes of its pools, and of their connections, for subclasses to replace; what it makes
        # of a socket later, such as TLS, is another object.
        manager.pool_classes_by_scheme = {
            scheme: type("WatchedPool", (pool,), {"ConnectionCls": _watched(pool.ConnectionCls, self._on_socket)})
            for scheme, pool in manager.pool_classes_by_scheme.items()
        }


def check_proxy(proxy: str | None, session: requests.Session | None) -> str | None:
    """Return the option ``proxy`` of a login, with its scheme.

    Raises:
        ValueError: the proxy cannot be used, or a session of the user's would ignore it.
    """
    if proxy is None:
        return None
    if session is not None:
        raise ValueError("proxy must be left out where a session is passed: set the proxies of that session")
    return proxy if proxy == ENVIRONMENT else split_proxy(proxy).geturl()


def _watched(connection_class: type[Any], on_socket: Callable[[Any], None]) -> type[Any]:
    def connect(self: Any) -> Any:
        sock = connection_class._new_conn(self)
        on_socket(sock)
        return sock

    return type("WatchedConnection", (connection_class,), {"_new_conn": connect})


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Explicit: the default minimum depends on the version and the configuration of OpenSSL.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _shut_down(handle: Any) -> None:
    # Shutting down wakes a thread that reads from another descriptor of the same connection; closing does not.
    with contextlib.suppress(OSError):
        handle.shutdown(SHUT_RDWR)
    handle.close()
