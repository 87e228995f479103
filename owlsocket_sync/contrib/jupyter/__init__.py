"""Connections in a notebook: live views, data frames, progress bars and plots; needs the extra ``jupyter``.

Each library is imported when a function needs it. Notebooks show cards of connections, messages and errors without this
package. ``%load_ext owlsocket_sync.contrib.jupyter`` also shows a card below the traceback of a raised error, and
warnings about connections that were never closed.
"""

from __future__ import annotations

from ...lazy import eager_exports
from .extension import load_ipython_extension, unload_ipython_extension
from .frames import events_frame, queue_frame, to_frame
from .latency import LatencyLog, RoundTrip, latencies, plot_latency
from .live import Health, View, Watch, health, watch
from .progress import gather, stream

__all__ = [
    "Health",
    "LatencyLog",
    "RoundTrip",
    "View",
    "Watch",
    "events_frame",
    "gather",
    "health",
    "latencies",
    "load_ipython_extension",
    "plot_latency",
    "queue_frame",
    "stream",
    "to_frame",
    "unload_ipython_extension",
    "watch",
]
__dir__ = eager_exports(__name__, __all__)
