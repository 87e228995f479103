"""Round-trip times: measured, recorded, summarised and plotted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from owlsocket_sync import Connection, SocketConnectionError
from owlsocket_sync.contrib.jupyter import LatencyLog, latencies, plot_latency
from owlsocket_sync.contrib.jupyter.latency import quantiles, sparkline
from owlsocket_sync.testing import FaultProxy
from support.helpers import eventually, scaled

pytest.importorskip("matplotlib").use("Agg")


@pytest.fixture
def axes() -> Any:
    """Axes to draw on."""
    from matplotlib.figure import Figure

    return Figure().subplots()


def lines(axes: Any) -> dict[str, list[float]]:
    """Return the plotted lines by label."""
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_latencies_pings_several_times(owlsocket_connection: Connection) -> None:
    """On the calling thread, one ping after the other."""
    log = latencies(owlsocket_connection, 5, timeout=scaled(5))
    assert len(log) == 5
    assert log.lost == 0
    assert all(0 < took < scaled(5) for took in log.seconds)
    assert [trip.at for trip in log] == sorted(trip.at for trip in log)
    summary = log.summary()
    assert summary["min"] <= summary["median"] <= summary["p95"] <= summary["max"]
    assert log[-1].seconds == owlsocket_connection.latency
    assert "5 round trips, 0 lost" in repr(log)
    assert "Median" in log._repr_html_()
    assert "<svg" in log._repr_html_()


def test_a_pause_is_kept_between_pings(owlsocket_connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """From start to start, and none after the last ping."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    latencies(owlsocket_connection, 3, interval=60.0)
    long = [pause for pause in pauses if pause > 1]
    assert len(long) == 2
    assert max(long) < 60


@pytest.mark.slow
def test_an_unanswered_ping_is_lost(owlsocket_connection: Connection, fault_proxy: FaultProxy) -> None:
    """A lost ping has no seconds, and no point in the plot."""
    log = LatencyLog(owlsocket_connection)
    assert log.ping(scaled(5)) is not None
    fault_proxy.blackhole()
    assert log.ping(0.05) is None
    fault_proxy.clear()
    assert (len(log), log.lost, len(log.seconds)) == (2, 1, 1)
    assert log.frame().seconds.isna().tolist() == [False, True]
    assert str(log.frame().time.dtype) == "datetime64[us, UTC]"
    assert lines(plot_latency(log)).keys() >= {"round trip", "no answer (1)"}
    _close_figures()


def test_a_ping_on_a_closed_connection_raises(owlsocket_connection: Connection) -> None:
    """A ping raises."""
    owlsocket_connection.close()
    with pytest.raises(SocketConnectionError):
        latencies(owlsocket_connection, 2)


def test_record_logs_a_measurement_once(owlsocket_connection: Connection) -> None:
    """Without sending a message."""
    log = LatencyLog(owlsocket_connection, limit=2)
    assert log.record() is None
    owlsocket_connection.ping(scaled(5))
    sent = owlsocket_connection.stats.messages_out
    assert log.record() == owlsocket_connection.latency
    assert log.record() is None
    for _ in range(3):
        owlsocket_connection.ping(scaled(5))
        log.record()
    assert len(log) == 2
    assert owlsocket_connection.stats.messages_out == sent


def test_an_empty_log_is_usable(owlsocket_connection: Connection, axes: Any) -> None:
    """It can be shown, summarised, plotted, and converted to a frame."""
    log = LatencyLog(owlsocket_connection)
    assert log.summary() == {"count": 0, "lost": 0, "min": None, "median": None, "p95": None, "max": None}
    assert "not measured yet" in log._repr_html_()
    assert str(log.frame().seconds.dtype) == "Float64"
    assert str(log.frame().time.dtype) == "datetime64[us, UTC]"
    assert lines(plot_latency(log, ax=axes))["round trip"] == []


def test_a_plot_shows_the_measurements(axes: Any) -> None:
    """In milliseconds, with median and 95th percentile, on the given axes, which it returns."""
    took = [0.001 * number for number in range(1, 101)]
    assert plot_latency(took, ax=axes) is axes
    drawn = lines(axes)
    assert drawn["round trip"] == pytest.approx([1000 * seconds for seconds in took])
    assert drawn["median 50.50 ms"] == pytest.approx([50.5, 50.5])
    assert drawn["p95 95.00 ms"] == pytest.approx([95.0, 95.0])
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("ms", "round trip")
    assert axes.get_legend() is not None


def test_a_connection_is_measured_for_its_plot(owlsocket_connection: Connection, axes: Any) -> None:
    """Several pings over time; the title has the name of the connection."""
    plot_latency(owlsocket_connection, ax=axes, count=7)
    assert len(lines(axes)["round trip"]) == 7
    assert axes.get_title(loc="left") == f"Latency of {owlsocket_connection.name}"
    assert axes.get_xlabel() == "seconds"


def test_the_heartbeat_is_recorded_too(owlsocket_server: Any) -> None:
    """Without explicit pings."""
    from owlsocket_sync import Heartbeat, connect

    with connect(owlsocket_server.url, heartbeat=Heartbeat(0.05, scaled(5))) as conn:
        log = LatencyLog(conn)
        eventually(lambda: (log.record(), len(log) >= 2)[1])


@pytest.mark.parametrize(
    ("took", "p95"), [([1.0], 1.0), ([1.0, 2.0], 2.0), ([float(n) for n in range(1, 21)], 19.0)]
)  # fmt: skip
def test_quantiles_are_measurements(took: list[float], p95: float) -> None:
    """Also of few values."""
    assert quantiles(took)["p95"] == p95


def test_a_sparkline_of_one_point_or_none() -> None:
    """The label describes the line."""
    assert sparkline([]) == ""
    assert "1 round trips: last 0.00 ms" in sparkline([0.0])
    assert "largest 2.00 s" in sparkline([2.0, 1.0])


def _close_figures() -> None:
    from matplotlib import pyplot

    pyplot.close("all")
