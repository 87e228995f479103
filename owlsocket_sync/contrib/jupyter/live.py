"""Views that change while one looks at them: the events that come, and how a connection does.

Threads. Nothing here starts one. Events and changes of state come on workers of the connection, which is where they are
drawn: to set a value of a widget is to hand a message to the thread of the kernel that sends, and any thread may do so.
What has to happen later (the last of many events, the next look at the counters) is asked of the event loop of the
kernel, which runs it between two cells; where there is no loop, as in a script, it is left out. ``_drawing`` is held
while a view is drawn, so that what was drawn last is the latest; it guards what is shown, and no user's code runs
under it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from reprlib import Repr
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ...cards import card, listing, stats_rows
from ...connection import Connection
from ...protocol.messages import EventMessage
from ...protocol.subscription import Subscription
from ...stages import ConnectionState, StateChange
from .latency import LatencyLog, sparkline
from .libraries import library

Self = TypeVar("Self", bound="View")

LIMIT = 20
RATE = 5.0
EVERY = 1.0
POINTS = 60


class Brief(Repr):
    """The beginning of what a payload is, at a cost that does not grow with it; keys stay in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self.maxdict = self.maxlist = 8
        self.maxlevel = 3

    def repr_dict(self, x: Any, level: int) -> str:
        """An object of JSON."""
        if level <= 0 and x:
            return "{...}"
        pairs = islice(x.items(), self.maxdict)
        shown = [f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}" for key, value in pairs]
        return "{" + ", ".join(shown + ["..."] * (len(x) > self.maxdict)) + "}"


_brief = Brief()

_views: WeakKeyDictionary[Connection, dict[str, View]] = WeakKeyDictionary()


class Later:
    """Has things done later, by the event loop that runs in the thread that makes it; from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def call(self, seconds: float, what: Callable[[], object]) -> bool:
        """Have it done after so many seconds; false where there is no loop, or none any more."""
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, what)
        except RuntimeError:  # it was closed
            return False
        return True


class View(ABC):
    """Something to look at, with a button that stops it; what is shown stays.

    It stops by its button, by `close`, with its widget, with its connection, and when the same is asked for again.

    Args:
        conn: what is looked at.
        kind: of several views of one kind and connection, the last one is live.

    Attributes:
        widget: the widget of ``ipywidgets``, to be laid out with others.
    """

    def __init__(self, conn: Connection, kind: str) -> None:
        widgets = library("ipywidgets")
        self._conn = conn
        self._kind = kind
        self._drawing = threading.RLock()
        self._later = Later()
        self._closed = False
        self._page = widgets.HTML()
        self._button = widgets.Button(description="Stop", tooltip=f"Stop {kind}", icon="stop")
        self._button.on_click(lambda _: self.close())
        self.widget = widgets.VBox([self._page, self._button])
        self.widget.observe(self._widget_moved, "comm")
        self._subscription = Subscription.group([])

    def _begin(self, subscriptions: list[Subscription]) -> None:
        self._subscription = Subscription.group([*subscriptions, self._conn.on_state(self._state_moved)])
        there = _views.setdefault(self._conn, {})
        before, there[self._kind] = there.get(self._kind), self
        if before is not None:
            before.close()
        if self._conn.state is ConnectionState.CLOSED:
            self.close()
        else:
            self.draw()

    @property
    def closed(self) -> bool:
        """Whether it stopped."""
        return self._closed

    def draw(self) -> None:
        """Show how things are now; from any thread."""
        with self._drawing:
            self._page.value = self._html()

    @abstractmethod
    def _html(self) -> str:
        """What is shown; asked for while it is drawn."""

    def close(self) -> None:
        """Stop: give up the subscriptions, and leave what is shown; idempotent, from any thread."""
        with self._drawing:
            if self._closed:
                return
            self._closed = True
        self._subscription()
        there = _views.get(self._conn, {})
        if there.get(self._kind) is self:
            del there[self._kind]
        self._button.disabled = True
        self._button.description = "Stopped"
        self.draw()

    def _state_moved(self, change: StateChange) -> None:
        if change == ConnectionState.CLOSED:
            self.close()
        else:
            self.draw()

    def _widget_moved(self, change: Any) -> None:
        if change["new"] is None:
            self.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self._kind} on {self._conn.name!r}, {'stopped' if self._closed else 'live'}>"
        )

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        shown: dict[str, Any] = self.widget._repr_mimebundle_(**options)
        return {**shown, "text/plain": repr(self)}


class Watch(View):
    """The events of one name as they come; see `watch`."""

    def __init__(self, conn: Connection, event: str, limit: int, rate: float) -> None:
        super().__init__(conn, f"event {event}")
        self._event = event
        self._rows: deque[tuple[int, str, str, str]] = deque(maxlen=limit)
        self._count = 0
        self._pause = 1 / rate
        self._draw_from = 0.0
        self._is_late = False
        self._begin([conn.observe(event, self._came)])

    @property
    def count(self) -> int:
        """How many events came."""
        return self._count

    def _came(self, message: EventMessage) -> None:
        at = datetime.now().strftime("%H:%M:%S.%f")[:-3]
        payload = _brief.repr(message.payload)
        with self._drawing:
            if self._closed:
                return
            self._count += 1
            self._rows.append((self._count, at, message.event, payload))
            wait = self._draw_from - time.monotonic()
            if wait <= 0:
                self._draw_from = time.monotonic() + self._pause
                self.draw()
            elif not self._is_late:
                self._is_late = self._later.call(wait, self._catch_up)

    def _catch_up(self) -> None:
        """Draw what came since it was last drawn."""
        with self._drawing:
            self._is_late = False
            if not self._closed:
                self._draw_from = time.monotonic() + self._pause
                self.draw()

    def _html(self) -> str:
        rows = list(self._rows)
        shown = f"the last {len(rows)} of " if self._count > len(rows) else ""
        state, s = "stopped" if self._closed else "live", "" if self._count == 1 else "s"
        caption = f"{self._conn.name}: {shown}{self._count} event{s} {self._event!r} ({state})"
        return listing(("#", "Time", "Event", "Payload"), reversed(rows), caption)


class Health(View):
    """How a connection does; see `health`.

    Attributes:
        latencies: the round trips seen so far.
    """

    def __init__(self, conn: Connection, every: float, points: int) -> None:
        super().__init__(conn, "health")
        self._every = every
        self.latencies = LatencyLog(conn, limit=points)
        self._seen: tuple[float, int, int] | None = None
        self._rates = (0.0, 0.0)
        self._begin([])
        self._look_again()

    def _look_again(self) -> None:
        if not self._closed:
            self._later.call(self._every, self._look)

    def _look(self) -> None:
        if not self._closed:
            self.draw()
            self._look_again()

    def _html(self) -> str:
        conn = self._conn
        stats = conn.stats
        self.latencies.record()
        self._note_rates(stats.messages_in, stats.messages_out)
        rows = {"URL": conn.url, "Messages in/s": f"{self._rates[0]:.1f}", "Messages out/s": f"{self._rates[1]:.1f}"}
        state = conn.state.value
        shown = card(f"Connection {conn.name}", {**rows, **stats_rows(stats)}, mark=state, said=state)
        return shown + sparkline(self.latencies.seconds)

    def _note_rates(self, incoming: int, outgoing: int) -> None:
        now = time.monotonic()
        if self._seen is not None:
            before, then_in, then_out = self._seen
            if now - before < self._every / 2:
                return
            self._rates = (incoming - then_in) / (now - before), (outgoing - then_out) / (now - before)
        self._seen = now, incoming, outgoing


def watch(conn: Connection, event: str = "*", *, limit: int = LIMIT, rate: float = RATE) -> Watch:
    """A live table of the events of this name, the latest first.

    Memory is bounded: of each of the last ``limit`` events, a line is kept. It is drawn at most ``rate`` times a
    second, however many come. While a cell runs, the last few of a burst may appear when that is over.

    Args:
        conn: where they come from.
        event: their name, ``"*"`` for all.
        limit: how many are shown.
        rate: how often a second it is drawn, at most.

    Returns:
        A `View`, to be the last expression of a cell. Asked for once more, it takes the place of the one before.
    """
    _check(limit, "limit", int)
    _check(rate, "rate", (int, float))
    return Watch(conn, event, limit, rate)


def health(conn: Connection, *, every: float = EVERY, points: int = POINTS) -> Health:
    """A live card of a connection: its state, its counters, and a line of its latest round trips.

    It changes with the state, at once, and every so many seconds, between cells. It sends nothing: round trips are
    those that the heartbeat and `Connection.ping` measure.

    Args:
        conn: what is looked at.
        every: seconds between two looks at the counters.
        points: how many round trips are shown.

    Returns:
        A `View`, to be the last expression of a cell. Asked for once more, it takes the place of the one before.
    """
    _check(every, "every", (int, float))
    _check(points, "points", int)
    return Health(conn, every, points)


def _check(value: Any, name: str, kind: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
        raise ValueError(f"{name} must be a number above 0, not {value!r}")
