"""The shop's own tests, as a project writes them with `SocketServerTestCase`; Django's runner runs them."""

# ruff: noqa: PT009, PT027 - this is how unittest writes it
from __future__ import annotations

import json
import os
import urllib.request
from unittest import skipUnless

from django.db import connection
from django.test import LiveServerTestCase, SimpleTestCase

from owlsocket_sync import ResilientError
from owlsocket_sync.contrib.django import client, clients
from owlsocket_sync.contrib.django.test import SocketServerMixin, SocketServerTestCase

from .models import Order


class PayTests(SocketServerTestCase):
    """In a transaction that is rolled back."""

    def test_the_server_says_the_price_and_hears_of_the_payment(self) -> None:
        self.server_answers("price", lambda number: number * 2)
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            self.client.post("/orders/7/pay")
            self.assertEqual(self.server_events(), [])
        self.assertEqual(len(callbacks), 1)
        self.assertEqual(self.server_heard("order.paid"), {"order": 7, "price": 14})
        self.assertEqual(self.server_asked(), [("price", 7)])

    def test_a_refused_payment_is_never_told(self) -> None:
        self.server_answers("price", 1)
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            self.client.post("/orders/7/pay?refused")
        self.assertEqual((callbacks, self.server_events()), ([], []))

    def test_what_one_test_said_is_nothing_to_another(self) -> None:
        with self.assertRaisesRegex(ResilientError, "'price' is not performed here"):
            client.call("price", 1, timeout=5)
        self.assertEqual((self.server_events(), self.server_asked()), ([], []))

    def test_an_answer_may_come_late_and_be_an_error(self) -> None:
        self.assertTrue(clients["default"].connection.ping() > 0)
        self.server_answers("price", LookupError("no such order"))
        with self.assertRaisesRegex(ResilientError, "no such order"):
            client.call("price", 1)


class HandlerTests(SocketServerTestCase):
    """Handlers see the transaction of the test, and what they write goes with it."""

    def test_an_event_changes_an_order_of_this_test(self) -> None:
        order = Order.objects.create(number=3)
        self.server_notifies("order.paid", {"order": 3})
        order.refresh_from_db()
        self.assertEqual(order.state, "paid")
        self.assertEqual(self.server_heard("order.noted"), 3)
        self.assertEqual(self.server_calls("countOrders", "paid"), 1)

    def test_nothing_of_that_is_left(self) -> None:
        self.assertEqual(self.server_calls("countOrders", "paid"), 0)

    def test_each_alias_has_its_own_side(self) -> None:
        self.assertEqual(self.server_calls("shelf", "lamp", using="stock"), "shelf of lamp")
        with self.assertRaisesRegex(ResilientError, "'shelf' is not performed here"):
            self.server_calls("shelf", "lamp")
        self.server_answers("left", 5, using="stock")
        self.assertEqual(clients["stock"].call("left"), 5)

    def test_what_never_came_is_told_with_what_came(self) -> None:
        client.notify("order.paid", 1)
        self.server_heard("order.paid")
        self.socket_timeout = 0.05  # type: ignore[misc]
        with self.assertRaisesRegex(AssertionError, r"no event 'order.lost' within 0.05 s, but 'order.paid'"):
            self.server_heard("order.lost")


class LiveTests(SocketServerMixin, LiveServerTestCase):  # type: ignore[misc]
    """With Django's server in a thread, and transactions that are committed."""

    def test_a_view_tells_the_server(self) -> None:
        self.server_answers("price", 9)
        with urllib.request.urlopen(f"{self.live_server_url}/orders/5/pay", data=b"") as answer:
            self.assertEqual(json.load(answer), {"paid": 5})
        self.assertEqual(self.server_heard("order.paid"), {"order": 5, "price": 9})
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
    """What must not pass."""

    def test_an_event_that_nobody_sent(self) -> None:
        self.socket_timeout = 0.05  # type: ignore[misc]
        self.server_heard("order.paid")

    def test_a_database_is_there_all_the_same(self) -> None:
        self.assertEqual(connection.vendor, "no such one")
