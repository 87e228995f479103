"""The registry of services and its lifecycle.

Threads: ``_services_lock`` guards the table of services and the phase. It is held while services are configured and
initialised, which must not block, and is free while a service connects or closes.
"""

from __future__ import annotations

from enum import Enum
from types import TracebackType
from typing import Any, TypeVar

from ..errors import ConfigError, SocketInitializationError
from ..fork import PerProcess
from ..reentrant import make_lock
from .service import Service

AnyService = TypeVar("AnyService", bound=Service)


class Phase(str, Enum):
    """Lifecycle phase of a context; moves forward only."""

    OPEN = "open"
    CONFIGURED = "configured"
    READY = "ready"
    CLOSED = "closed"


class Context:
    """A registry of services by alias; a context manager, safe for use by any number of threads.

    `service` configures and initialises the context when needed, so a script calls neither.

    Args:
        services: services to register; `register` accepts more until `configure`.

    Raises:
        ConfigError: two services have the same alias.
    """

    def __init__(self, *services: Service) -> None:
        # Reentrant: init() calls configure(), and services may call back into the context.
        self._services_lock = PerProcess(make_lock)
        self._services: dict[str, Service] = {}
        self._phase = Phase.OPEN
        for service in services:
            self.register(service)

    @property
    def phase(self) -> Phase:
        """The lifecycle phase of the context."""
        return self._phase

    def register(self, service: AnyService) -> AnyService:
        """Register a service and return it.

        Raises:
            ConfigError: the alias is taken, or the context is configured already.
        """
        with self._services_lock.get():
            if self._phase is not Phase.OPEN:
                raise ConfigError(f"cannot register service {service.alias!r}: the context is {self._phase.value}")
            if service.alias in self._services:
                raise ConfigError(f"a service with alias {service.alias!r} is already registered: use another alias")
            self._services[service.alias] = service
            service.context = self
        return service

    def configure(self) -> Context:
        """Let the services look each other up; return the context. Idempotent.

        Raises:
            ConfigError: a required service is missing.
            SocketInitializationError: the context is closed.
        """
        with self._services_lock.get():
            self._check_open()
            if self._phase is Phase.OPEN:
                for service in self._services.values():
                    service.configure(self)
                # Last: after a ConfigError the phase is still OPEN, so the missing service can be registered.
                self._phase = Phase.CONFIGURED
        return self

    def init(self) -> Context:
        """Configure the context and initialise its services; return the context. Connects nothing. Idempotent.

        Raises:
            ConfigError: a required service is missing.
            SocketInitializationError: the context is closed.
        """
        with self._services_lock.get():
            self.configure()
            if self._phase is Phase.CONFIGURED:
                for service in self._services.values():
                    service.init()
                self._phase = Phase.READY
        return self

    def find(self, alias: str) -> Service | None:
        """Return the service with this alias, or ``None``; also while the context is being configured."""
        return self._services.get(alias)

    def service(self, alias: str) -> Any:
        """Return the service with this alias, ready for use.

        Raises:
            ConfigError: no service has this alias.
            SocketInitializationError: the context is closed.
        """
        # Read without the lock: READY changes to CLOSED only, and a closed service refuses use by itself.
        if self._phase is not Phase.READY:
            self.init()
        service = self.find(alias)
        if service is None:
            registered = ", ".join(map(repr, self._services)) or "none"
            raise ConfigError(f"no service with alias {alias!r} is registered (registered: {registered})")
        return service

    def close(self) -> None:
        """Close the services, the last registered first; idempotent, any thread."""
        with self._services_lock.get():
            first = self._phase is not Phase.CLOSED
            self._phase = Phase.CLOSED
        # Outside of the lock: closing waits for the peer, and handlers that finish meanwhile may use the context.
        if first:
            for service in reversed(self._services.values()):
                service.close()

    def _check_open(self) -> None:
        if self._phase is Phase.CLOSED:
            raise SocketInitializationError("the context is closed")

    def __enter__(self) -> Context:
        return self.init()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Context {self._phase.value}: {', '.join(self._services)}>"
