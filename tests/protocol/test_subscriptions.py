"""Subscriptions: asked for once, given up once, and never invoked after."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from owlsocket_sync.protocol.subscriptions import Registrations, Registry, Subscription


def named(*arguments: Any) -> None:
    """A handler with a name."""


def test_it_is_given_up_once_however_often_it_is_called() -> None:
    """And knows whether it was."""
    gone: list[Subscription] = []
    subscription = Subscription(named, gone.append)
    assert subscription.active
    subscription()
    subscription()
    assert gone == [subscription]
    assert not subscription.active


def test_a_with_block_gives_it_up() -> None:
    """Also one that fails."""
    gone: list[Subscription] = []
    with pytest.raises(ValueError, match="no"), Subscription(named, gone.append) as subscription:
        assert subscription.active
        raise ValueError("no")
    assert gone == [subscription]


def test_it_shows_whose_it_is() -> None:
    """By the name of its handler."""
    subscription = Subscription(named, lambda _: None)
    assert repr(subscription) == "<Subscription of named>"
    subscription()
    assert repr(subscription) == "<Subscription of named, unsubscribed>"


def test_a_group_gives_up_all_of_it() -> None:
    """In one call."""
    registry: Registry[Any] = Registry(threading.Lock())
    members = [registry.add(key, named) for key in "abc"]
    group = Subscription._group(members)
    assert repr(group) == "<Subscription of a group>"
    group()
    assert not any(member.active for member in members)
    assert list(registry.subscriptions()) == []


def test_a_registry_hands_out_what_there_is_in_order() -> None:
    """A snapshot that later changes leave alone; a key without handlers is forgotten."""
    registry: Registry[Any] = Registry(threading.Lock())
    first, second = registry.add("k", named), registry.add("k", named)
    snapshot = registry.get("k")
    assert snapshot == (first, second)
    first()
    assert (snapshot, registry.get("k")) == ((first, second), (second,))
    second()
    assert registry.get("k") == ()
    assert list(registry.subscriptions()) == []


def test_the_same_handler_may_be_registered_twice() -> None:
    """Giving up one of them leaves the other."""
    registry: Registry[Any] = Registry(threading.Lock())
    first, second = registry.add("k", named), registry.add("k", named)
    second()
    assert registry.get("k") == (first,)


def test_registrations_share_a_lock_that_a_fork_replaces() -> None:
    """A thread of the parent may hold the old one; what is registered stays."""
    registrations = Registrations()
    assert not registrations
    subscription = registrations.performers.add("k", named)
    registrations.observers._table_lock.acquire()
    registrations.replace_lock()
    assert registrations
    registrations.listeners.add("", named)
    subscription()
    assert list(registrations.performers.subscriptions()) == []


def test_unsubscribing_twice_at_once_is_no_error() -> None:
    """The second thread finds nothing left to do."""
    registry: Registry[Any] = Registry(threading.Lock())
    first, second = registry.add("k", named), registry.add("k", named)
    first()
    registry._remove(first)
    assert registry.get("k") == (second,)


def test_only_what_can_be_called_is_a_handler() -> None:
    """The error names the key and the type."""
    with pytest.raises(TypeError, match="the handler of 'k' must be callable, not int"):
        Registry(threading.Lock()).add("k", 5)  # type: ignore[arg-type]


def test_threads_may_come_and_go() -> None:
    """None of them loses what another one registered."""
    registry: Registry[Any] = Registry(threading.Lock())
    kept: list[Subscription] = []

    def work() -> None:
        for _ in range(200):
            kept.append(registry.add("k", named))
            registry.add("k", named)()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert set(map(id, registry.get("k"))) == set(map(id, kept))
    assert len(kept) == 800
