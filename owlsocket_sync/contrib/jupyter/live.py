"""Live views in a notebook: a table of incoming events, and a card of the health of a connection.

Threads: this module starts none. Events and state changes arrive on workers of the connection, and are drawn there.
Delayed drawing is scheduled on the event loop of the kernel, which runs between cells; a script has no loop, and draws
nothing later.

Locks: ``_draw_lock`` of a view guards its content and is held while the view is drawn, so that the last drawing shows
the latest content. ``_tally_lock`` of the connection may be taken under it; no user code runs under it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from reprlib import Repr
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ...clock import monotonic
from ...connection import Connection
from ...html_repr import card, listing, stats_rows
from ...protocol.messages import EventMessage
from ...protocol.subscriptions import Subscription
from ...reentrant import make_lock
from ...states import ConnectionState, StateChange
from .latency import LatencyLog, sparkline
from .libraries import library

Self = TypeVar("Self", bound="View")

LIMIT = 20
RATE = 5.0
INTERVAL = 1.0
POINTS = 60


class ShortRepr(Repr):
    """Bounded repr of a payload, at a cost that does not depend on its size; keys stay in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self.maxdict = self.maxlist = 8
        self.maxlevel = 3

    def repr_dict(self, x: Any, level: int) -> str:
        """Return the first entries of a JSON object."""
        # The base class sorts the keys, which costs time by the size of the object and hides the peer's order.
        if level <= 0 and x:
            return "{...}"
        pairs = islice(x.items(), self.maxdict)
        entries = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in pairs]
        return "{" + ", ".join(entries + ["..."] * (len(x) > self.maxdict)) + "}"


_short_repr = ShortRepr()

# By connection and kind: a cell that runs again replaces its view. Weak: a view must not keep a connection alive.
_views: WeakKeyDictionary[Connection, dict[str, View]] = WeakKeyDictionary()


class Debouncer:
    """Scheduler of calls on the event loop of the thread that creates it; usable from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def call_later(self, seconds: float, callback: Callable[[], object]) -> bool:
        """Schedule a call; return false without an event loop, or if the loop is closed."""
        if self._loop is None:
            return False
        try:
            # Two steps: call_later() of a loop is not thread-safe.
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, callback)
        except RuntimeError:  # the loop is closed
            return False
        return True


class View(ABC):
    """A live view with a stop button; its content stays visible after it has stopped.

    A view stops by its button, `close`, the end of its widget or its connection, or a new view of the same kind.

    Args:
        conn: connection to show.
        kind: the last view of a kind and connection is live.

    Attributes:
        widget: widget of ``ipywidgets``, for layouts with other widgets.
    """

    def __init__(self, conn: Connection, kind: str) -> None:
        widgets = library("ipywidgets")
        self._conn = conn
        self._kind = kind
        self._draw_lock = make_lock()
        self._debouncer = Debouncer()
        self._closed = False
        self._page = widgets.HTML()
        self._button = widgets.Button(description="Stop", tooltip=f"Stop {kind}", icon="stop")
        self._button.on_click(lambda _: self.close())
        self.widget = widgets.VBox([self._page, self._button])
        self.widget.observe(self._on_comm_change, "comm")
        self._subscription = Subscription._group([])

    def _begin(self, subscriptions: list[Subscription]) -> None:
        self._subscription = Subscription._group([*subscriptions, self._conn.on_state(self._on_state)])
        views = _views.setdefault(self._conn, {})
        previous, views[self._kind] = views.get(self._kind), self
        if previous is not None:
            previous.close()
        # The connection may have closed before on_state() was registered: then no state change follows.
        if self._conn.state is ConnectionState.CLOSED:
            self.close()
        else:
            self.draw()

    @property
    def closed(self) -> bool:
        """Return whether the view has stopped."""
        return self._closed

    def draw(self) -> None:
        """Draw the current content; from any thread."""
        with self._draw_lock:
            # Any thread may set a value: ipywidgets hands it to the sender of the kernel.
            self._page.value = self._html()

    @abstractmethod
    def _html(self) -> str:
        """Return the content; called under ``_draw_lock``."""

    def close(self) -> None:
        """Unsubscribe and keep the content visible; idempotent, from any thread."""
        with self._draw_lock:
            if self._closed:
                return
            self._closed = True
        # Outside of the lock: unsubscribing takes a lock of the connection.
        self._subscription()
        views = _views.get(self._conn, {})
        if views.get(self._kind) is self:  # a newer view may have taken the place
            del views[self._kind]
        self._button.disabled = True
        self._button.description = "Stopped"
        self.draw()

    def _on_state(self, change: StateChange) -> None:
        if change == ConnectionState.CLOSED:
            self.close()
        else:
            self.draw()

    def _on_comm_change(self, change: Any) -> None:
        if change["new"] is None:  # the frontend has closed the widget
            self.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        subject = repr(self._conn.name) if self._kind == "health" else f"{self._kind} on {self._conn.name!r}"
        return f"<{type(self).__name__} of {subject}, {'stopped' if self._closed else 'live'}>"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = self.widget._repr_mimebundle_(**options)
        return {**bundle, "text/plain": repr(self)}


class Watch(View):
    """Live table of the events of a name; see `watch`."""

    def __init__(self, conn: Connection, event: str, limit: int, rate: float) -> None:
        super().__init__(conn, f"event {event}")
        self._event = event
        self._rows: deque[tuple[int, str, str, str]] = deque(maxlen=limit)
        self._count = 0
        self._pause = 1 / rate
        self._next_draw = 0.0
        # Beside `_closed`, not a phase with it: a drawing that was scheduled finds out later that the view has stopped.
        self._draw_scheduled = False
        self._begin([conn.observe(event, self._on_event)])

    @property
    def count(self) -> int:
        """Return the number of events received."""
        return self._count

    def _on_event(self, message: EventMessage) -> None:
        received = datetime.now().strftime("%H:%M:%S.%f")[:-3]
        # Before the lock: the repr of a large payload takes time.
        payload = _short_repr.repr(message.payload)
        with self._draw_lock:
            if self._closed:
                return
            self._count += 1
            self._rows.append((self._count, received, message.event, payload))
            wait = self._next_draw - monotonic()
            if wait <= 0:
                self._next_draw = monotonic() + self._pause
                self.draw()
            elif not self._draw_scheduled:
                # False without an event loop: then the next event tries again.
                self._draw_scheduled = self._debouncer.call_later(wait, self._draw_pending)

    def _draw_pending(self) -> None:
        """Draw the events since the last drawing; on the event loop."""
        with self._draw_lock:
            self._draw_scheduled = False
            if not self._closed:
                self._next_draw = monotonic() + self._pause
                self.draw()

    def _html(self) -> str:
        rows = list(self._rows)
        range_text = f"the last {len(rows)} of " if self._count > len(rows) else ""
        state, s = "stopped" if self._closed else "live", "" if self._count == 1 else "s"
        caption = f"{self._conn.name}: {range_text}{self._count} event{s} {self._event!r} ({state})"
        return listing(("#", "Time", "Event", "Payload"), reversed(rows), caption)


class Health(View):
    """Live card of a connection; see `health`.

    Attributes:
        latencies: round trips seen by this view.
    """

    def __init__(self, conn: Connection, interval: float, points: int) -> None:
        super().__init__(conn, "health")
        self._interval = interval
        self.latencies = LatencyLog(conn, limit=points)
        self._sample: tuple[float, int, int] | None = None
        self._rates = (0.0, 0.0)
        self._begin([])
        self._schedule()

    def _schedule(self) -> None:
        if not self._closed:
            self._debouncer.call_later(self._interval, self._refresh)

    def _refresh(self) -> None:
        if not self._closed:
            self.draw()
            self._schedule()

    def _html(self) -> str:
        conn = self._conn
        stats = conn.stats
        self.latencies.record()
        self._update_rates(stats.messages_in, stats.messages_out)
        rows = {"URL": conn.url, "Messages in/s": f"{self._rates[0]:.1f}", "Messages out/s": f"{self._rates[1]:.1f}"}
        state = conn.state.value
        content = card(f"Connection {conn.name}", {**rows, **stats_rows(stats)}, status_color=state, status=state)
        return content + sparkline(self.latencies.seconds)

    def _update_rates(self, messages_in: int, messages_out: int) -> None:
        now = monotonic()
        if self._sample is not None:
            before, previous_in, previous_out = self._sample
            # A state change draws between two samples: a rate over such a short time would jump.
            if now - before < self._interval / 2:
                return
            self._rates = (messages_in - previous_in) / (now - before), (messages_out - previous_out) / (now - before)
        self._sample = now, messages_in, messages_out


def watch(conn: Connection, event: str = "*", *, limit: int = LIMIT, rate: float = RATE) -> Watch:
    """Show a live table of the events of a name, the latest first.

    Memory is bounded: the view keeps one line for each of the last ``limit`` events, and draws at most ``rate`` times a
    second. While a cell runs, the last events of a burst may appear only after the cell.

    Args:
        conn: connection to use.
        event: name of the events, ``"*"`` for all.
        limit: maximum number of rows.
        rate: maximum number of drawings a second.

    Returns:
        A `View`, for the last expression of a cell. A second view of the same event replaces the first one.

    Raises:
        ValueError: an option is not a positive number.
    """
    _check(limit, "limit", int)
    _check(rate, "rate", (int, float))
    return Watch(conn, event, limit, rate)


def health(conn: Connection, *, interval: float = INTERVAL, points: int = POINTS) -> Health:
    """Show a live card of a connection: state, counters, and a chart of the latest round trips.

    The card is drawn at each change of the state, and after each interval, between cells. It sends nothing: the round
    trips are those of the heartbeat and of `Connection.ping`.

    Args:
        conn: connection to show.
        interval: seconds between two readings of the counters.
        points: maximum number of round trips in the chart.

    Returns:
        A `View`, for the last expression of a cell. A second view of the same connection replaces the first one.

    Raises:
        ValueError: an option is not a positive number.
    """
    _check(interval, "interval", (int, float))
    _check(points, "points", int)
    return Health(conn, interval, points)


def _check(value: Any, name: str, kind: Any) -> None:
    # `not value > 0` also rejects NaN; a bool is an int in Python.
    if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
        raise ValueError(f"{name} must be a number above 0, not {value!r}")
