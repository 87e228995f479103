"""What instruments and sums make of a fork: a child tells of what it does itself."""

from __future__ import annotations

import pytest

from owlsocket_sync.server import serve
from support.child_processes import echo, run

SCRIPT = """
from owlsocket_sync import Instrument, connections, instrument
from owlsocket_sync.contrib.summary import summarise

class Calls(Instrument):
    ended = 0

    def on_call_end(self, call, outcome, token):
        self.ended += 1

calls = Calls()
instrument(calls)
before = connect(url, timeout=20, name='before').close()
conn = connect(url, timeout=20, name='here')
for _ in range(3):
    conn.call('echo', 1)
held = threading.Event(), threading.Event()
from owlsocket_sync.protocol.connection_registry import REGISTRY

def hold():
    with REGISTRY._registry_lock:
        held[0].set()
        held[1].wait(20)

threading.Thread(target=hold, daemon=True).start()
held[0].wait(20)
child = os.fork()
if child == 0:
    code = 1
    try:
        signal.alarm(20)
        assert connections() == [], connections()
        assert summarise() == {}, summarise()
        assert conn.stats.messages_out == 0, conn.stats
        assert conn.call('echo', 2, timeout=20) == 2
        assert calls.ended == 4, calls.ended
        assert connections() == [conn]
        with instrument(Calls()) as _:
            assert len(conn._core.hooks.instruments) == 2
        # A worker that sends what waited for the link counts it afterwards.
        while not conn.stats.messages_out: time.sleep(0.01)
        [(name, summary)] = summarise().items()
        assert (name, summary.counters['messages_out'], summary.states['open']) == ('here', 1, 1), summary
        code = 0
    except BaseException as error:
        print('child', type(error).__name__, error, file=sys.stderr, flush=True)
    finally:
        os._exit(code)
held[1].set()
_, status = os.waitpid(child, 0)
assert sorted(summarise()) == ['before', 'here']
assert summarise()['here'].counters['messages_out'] == 3
conn.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
def test_a_child_counts_what_it_does_itself() -> None:
    """Its parent's connections are its own once it uses them; those who watch all watch these too."""
    with serve(echo) as server:
        done = run(SCRIPT, server.url)
    assert done.complaints == ""
    assert done.code == 0
