"""Streams and who uses them in this process: of two links with the same stream, the newer one.

Threads: ``_tenants_lock`` guards the table; ``tenant_lock`` of a stream is held while its tenant changes what is
stored, so that an older link changes nothing once a newer one has looked at the store.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from .. import fork
from ..locks import make_process_lock
from ..reentrant import make_lock


class Tenant(Protocol):
    """A link that uses streams."""

    def evict(self, key: str) -> None:
        """Stop using a stream: a newer link does; on the thread of that link, with ``tenant_lock``."""
        ...


class Tenancy:
    """The use of one stream.

    Attributes:
        key: its name.
        tenant_lock: held while the tenant changes what is stored.
        tenant: who uses the stream, ``None`` if there is none.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        # Not one of those that are free while their holder waits: it is held during a transaction.
        self.tenant_lock = make_lock()
        self.tenant: Tenant | None = None

    def take(self, tenant: Tenant, *, evicts: bool) -> bool:
        """Use the stream from now on; false if another tenant does, and is not evicted.

        Args:
            tenant: the new tenant.
            evicts: take the stream from another tenant.
        """
        with self.tenant_lock:
            last = self.tenant
            if last is not None and last is not tenant:
                if not evicts:
                    return False
                last.evict(self.key)
            self.tenant = tenant
            return True

    def leave(self, tenant: Tenant) -> None:
        """Stop using the stream."""
        with self.tenant_lock:
            if self.tenant is tenant:
                self.tenant = None

    @contextmanager
    def held_by(self, tenant: Tenant) -> Iterator[bool]:
        """Context manager in which no other tenant comes; yields whether this is the tenant."""
        with self.tenant_lock:
            yield self.tenant is tenant


class Tenancies:
    """The streams that are in use in this process."""

    def __init__(self) -> None:
        self.after_fork()
        fork.register(self)

    def after_fork(self) -> None:
        """Begin without tenants: the links are the parent's."""
        self._tenants_lock = make_process_lock()
        self._tenancies: weakref.WeakValueDictionary[str, Tenancy] = weakref.WeakValueDictionary()

    def of(self, key: str) -> Tenancy:
        """Return the use of a stream; it lasts as long as it is referenced."""
        with self._tenants_lock:
            tenancy = self._tenancies.get(key)
            if tenancy is None:
                tenancy = self._tenancies[key] = Tenancy(key)
            return tenancy


TENANCIES = Tenancies()
