"""Tests of the shop, as a project writes them with `SocketServerTestCase`; run by Django's test runner."""

# ruff: noqa: PT009, PT027 - this is how unittest writes it
from __future__ import annotations

import json
import os
import urllib.request
from unittest import skipUnless

from django.db import connection
from django.test import LiveServerTestCase, SimpleTestCase

from owlsocket_sync import EventMessage, ResilientError
from owlsocket_sync.contrib.django import client, clients, event_received
from owlsocket_sync.contrib.django.test import SocketServerMixin, SocketServerTestCase

from .models import Order


class PayTests(SocketServerTestCase):
    """In a transaction that is rolled back."""

    def test_the_server_says_the_price_and_hears_of_the_payment(self) -> None:
        self.server_answers("price", lambda number: number * 2)
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            self.client.post("/orders/7/pay")
            self.assertEqual(self.received_events(), [])
        self.assertEqual(len(callbacks), 1)
        self.assertEqual(self.wait_for_event("order.paid"), {"order": 7, "price": 14})
        self.assertEqual(self.received_calls(), [("price", 7)])

    def test_a_refused_payment_is_never_told(self) -> None:
        self.server_answers("price", 1)
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            self.client.post("/orders/7/pay?refused")
        self.assertEqual((callbacks, self.received_events()), ([], []))

    def test_what_one_test_said_is_nothing_to_another(self) -> None:
        with self.assertRaisesRegex(ResilientError, "no handler registered for method 'price'"):
            client.call("price", 1, timeout=5)
        self.assertEqual((self.received_events(), self.received_calls()), ([], []))

    def test_an_answer_may_come_late_and_be_an_error(self) -> None:
        self.assertTrue(clients["default"].connection.ping() > 0)
        self.server_answers("price", LookupError("no such order"))
        with self.assertRaisesRegex(ResilientError, "no such order"):
            client.call("price", 1)


class HandlerTests(SocketServerTestCase):
    """Handlers see the transaction of the test, and their changes are rolled back with it."""

    def test_an_event_changes_an_order_of_this_test(self) -> None:
        order = Order.objects.create(number=3)
        self.server_notifies("order.paid", {"order": 3})
        order.refresh_from_db()
        self.assertEqual(order.state, "paid")
        self.assertEqual(self.wait_for_event("order.noted"), 3)
        self.assertEqual(self.server_calls("countOrders", "paid"), 1)

    def test_nothing_of_that_is_left(self) -> None:
        self.assertEqual(self.server_calls("countOrders", "paid"), 0)

    def test_each_alias_has_its_own_side(self) -> None:
        self.assertEqual(self.server_calls("shelf", "lamp", using="stock"), "shelf of lamp")
        with self.assertRaisesRegex(ResilientError, "no handler registered for method 'shelf'"):
            self.server_calls("shelf", "lamp")
        self.server_answers("left", 5, using="stock")
        self.assertEqual(clients["stock"].call("left"), 5)

    def test_what_never_came_is_told_with_what_came(self) -> None:
        client.notify("order.paid", 1)
        self.wait_for_event("order.paid")
        self.socket_timeout = 0.05  # type: ignore[misc]
        with self.assertRaisesRegex(
            AssertionError, r"no event 'order.lost' within 0.05 s; events received: 'order.paid'"
        ):
            self.wait_for_event("order.lost")

    def test_what_the_project_does_not_handle_fails(self) -> None:
        with self.assertRaisesRegex(
            AssertionError,
            r"no handler observes the event 'order.pay'; observed: 'order.paid' \(socket_strict = False",
        ):
            self.server_notifies("order.pay", {"order": 3})
        with self.assertRaisesRegex(AssertionError, "the event 'order.paid' failed in observe order.paid: KeyError"):
            self.server_notifies("order.paid", {})
        with self.assertRaisesRegex(TypeError, "server_notifies needs a name"):
            self.server_notifies(7)  # type: ignore[arg-type]

    def test_a_test_may_be_lenient(self) -> None:
        self.socket_strict = False  # type: ignore[misc]
        self.server_notifies("order.pay", {"order": 3})
        with self.assertLogs("owlsocket_sync", "ERROR"):
            self.server_notifies("order.paid", {})

    def test_the_receiver_of_a_signal_observes_all_events(self) -> None:
        seen = []

        def receive(message: EventMessage, **arguments: object) -> None:
            seen.append(message.event)

        event_received.connect(receive)
        self.addCleanup(event_received.disconnect, receive)
        self.server_notifies("order.pay", {"order": 3})
        self.assertEqual(seen, ["order.pay"])

    def test_an_answer_whose_body_would_not_run_is_refused(self) -> None:
        async def later() -> None: ...

        with self.assertRaisesRegex(TypeError, "an answer to 'price' must not be an async function"):
            self.server_answers("price", later)


@skipUnless(os.environ.get("OWLSOCKET_HUB"), "the project has no hub")
class HubTests(SocketServerTestCase):
    """What the project publishes reaches no client of the hub of its settings."""

    def test_what_is_published_on_commit_is_kept(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            client.publish_on_commit("news", {"order": 7}, room="owls")
            self.assertEqual(self.published_events(), [])
        self.assertEqual(self.published_events(), [("news", {"order": 7}, "owls", None)])

    def test_what_another_test_published_is_not_there(self) -> None:
        self.assertEqual(self.published_events(), [])
        with self.assertRaisesRegex(LookupError, "has no HUB"):
            self.published_events(using="stock")


class LiveTests(SocketServerMixin, LiveServerTestCase):  # type: ignore[misc]
    """With Django's live server in a thread, and committed transactions."""

    def test_a_view_tells_the_server(self) -> None:
        self.server_answers("price", 9)
        with urllib.request.urlopen(f"{self.live_server_url}/orders/5/pay", data=b"") as answer:
            self.assertEqual(json.load(answer), {"paid": 5})
        self.assertEqual(self.wait_for_event("order.paid"), {"order": 5, "price": 9})
        self.assertEqual(self.server_calls("countOrders", "paid"), 1)

    def test_handlers_write_into_the_same_database(self) -> None:
        self.server_notifies("order.paid", {"order": 8})
        self.assertEqual(Order.objects.get().state, "paid")


class SimpleTests(SocketServerMixin, SimpleTestCase):  # type: ignore[misc]
    """Without a database."""

    def test_a_call_needs_none(self) -> None:
        self.server_answers("double", lambda process, number: 2 * number)
        self.assertEqual(self.client.get("/double/4").json()["answer"], 8)


@skipUnless(os.environ.get("WITH_FAILURES"), "fails, to show that a test here can")
class FailingTests(SocketServerTestCase):
    """Tests that must fail."""

    def test_an_event_that_nobody_sent(self) -> None:
        self.socket_timeout = 0.05  # type: ignore[misc]
        self.wait_for_event("order.paid")

    def test_an_event_that_waits_for_a_commit(self) -> None:
        self.socket_timeout = 0.05  # type: ignore[misc]
        client.notify_on_commit("order.placed", 1)
        self.wait_for_event("order.placed")

    def test_a_database_is_there_all_the_same(self) -> None:
        self.assertEqual(connection.vendor, "no such one")
