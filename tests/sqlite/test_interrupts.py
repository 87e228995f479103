"""An interrupt at any moment of a use leaves a file usable: for this thread, for others, and for other processes."""

from __future__ import annotations

import threading
from pathlib import Path

from owlsocket_sync.hub import SqliteHub
from owlsocket_sync.stores import SqliteStore
from support.helpers import scaled
from support.strikes import struck

PATIENCE = scaled(2.0)


def test_a_store_is_usable_after_an_interrupt_at_any_moment(tmp_path: Path) -> None:
    """The turn to write is free again, among the threads and among the processes."""
    path = tmp_path / "queue.db"
    with SqliteStore(path, busy_timeout=PATIENCE) as store, SqliteStore(path, busy_timeout=PATIENCE) as other:
        queue, elsewhere = store.queue("jobs"), other.queue("jobs")

        def use() -> None:
            queue.put("put")
            message = queue.get()
            assert message is not None
            message.ack()

        use()
        number = 0
        while struck(number, use):
            number += 1
            elsewhere.put("as of another process")
            thread = threading.Thread(target=queue.put, args=("of another thread",))
            thread.start()
            thread.join()
            assert len(queue) >= 2
            queue.purge()


def test_a_hub_is_usable_after_an_interrupt_at_any_moment(tmp_path: Path) -> None:
    """It is the same file."""
    path = tmp_path / "hub.db"
    with SqliteHub(path, busy_timeout=PATIENCE) as hub, SqliteHub(path, busy_timeout=PATIENCE) as other:
        hub.listen()

        def use() -> None:
            hub.publish("n", 1)
            hub.members("owls")

        number = 0
        while struck(number, use):
            number += 1
            other.publish("n", 2)
            hub.publish("n", 3)
            assert hub.count("owls") == 0
