"""Each reader of foreign bytes, on inputs that were broken at random: only documented errors come out, and soon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuzz.all_targets import TARGETS
from fuzz.drive import LEAST, Watched, drive
from fuzz.memory import Growth
from fuzz.target import CORPUS
from support.figures import Figure
from support.helpers import whole

MIB = 1024 * 1024
SECONDS = float(os.environ.get("OWLSOCKET_FUZZ_SECONDS", "60"))
"""For each reader, in the whole form."""
KEPT = sorted(CORPUS.glob("*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("path", KEPT, ids=lambda path: str(path.relative_to(CORPUS)))
def test_row_31_kept_inputs_are_read_as_documented(path: Path) -> None:
    """Odd inputs by hand, and each one that was once read wrongly."""
    with TARGETS[path.parent.name].open() as run:
        Watched(run)(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_row_31_valid_inputs_are_read_as_documented(name: str) -> None:
    """Nothing is wrong with what accidents will happen to."""
    target = TARGETS[name]
    assert target.seeds()
    with target.open() as run:
        for data in target.seeds():
            run(data)


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")  # other threads draw numbers too
@pytest.mark.parametrize("name", TARGETS)
def test_row_31_broken_inputs_are_read_as_documented(name: str, figure: Figure) -> None:
    """No undocumented exception, no input that takes long, no memory that piles up."""
    with Growth() as growth:
        watched = drive(TARGETS[name], whole(0.5, SECONDS))
    assert watched.runs >= LEAST
    figure("CPU time of the slowest input", watched.slowest, 2.0, "s")
    figure("growth of the resident memory", growth.bytes / MIB, 128, "MiB")
