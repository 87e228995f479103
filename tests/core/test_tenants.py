"""`Tenancies`: of two links with one stream, the newer one may change what is stored."""

from __future__ import annotations

import gc
import threading

from owlsocket_sync.core.tenants import Tenancies
from support.helpers import scaled


class Link:
    """A tenant that notes its evictions."""

    def __init__(self) -> None:
        self.evicted: list[str] = []

    def evict(self, key: str) -> None:
        """Note."""
        self.evicted.append(key)


def test_the_newer_link_evicts_the_older_one() -> None:
    """Where it is asked to; otherwise the first one stays."""
    tenancy, old, new = Tenancies().of("stream"), Link(), Link()
    assert tenancy.take(old, evicts=False)
    assert tenancy.take(old, evicts=False)
    assert not tenancy.take(new, evicts=False)
    assert tenancy.take(new, evicts=True)
    assert old.evicted == ["stream"]
    with tenancy.held_by(old) as is_old, tenancy.held_by(new) as is_new:
        assert (is_old, is_new) == (False, True)


def test_only_its_tenant_leaves_a_stream() -> None:
    """An old link that ends late takes nothing from the newer one."""
    tenancy, old, new = Tenancies().of("stream"), Link(), Link()
    tenancy.take(old, evicts=False)
    tenancy.take(new, evicts=True)
    tenancy.leave(old)
    assert tenancy.tenant is new
    tenancy.leave(new)
    assert tenancy.tenant is None


def test_a_newer_link_waits_for_a_change_that_the_older_one_makes() -> None:
    """What it looks at afterwards is all that the older one stores."""
    tenancy, old, new = Tenancies().of("stream"), Link(), Link()
    tenancy.take(old, evicts=False)
    taken = threading.Event()

    def take() -> None:
        tenancy.take(new, evicts=True)
        taken.set()

    thread = threading.Thread(target=take)
    with tenancy.held_by(old) as is_mine:
        assert is_mine
        thread.start()
        assert not taken.wait(0.05)
    thread.join(scaled(5))
    assert taken.is_set()


def test_a_stream_that_is_not_used_is_forgotten() -> None:
    """A server has as many as clients come, in its life."""
    tenancies = Tenancies()
    tenancy = tenancies.of("stream")
    assert tenancies.of("stream") is tenancy
    del tenancy
    gc.collect()
    assert len(tenancies._tenancies) == 0


def test_a_forked_child_begins_without_tenants() -> None:
    """The links are the parent's."""
    tenancies = Tenancies()
    tenancy = tenancies.of("stream")
    tenancy.take(Link(), evicts=False)
    tenancies.after_fork()
    assert tenancies.of("stream").tenant is None
