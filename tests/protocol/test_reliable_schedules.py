"""Acknowledged delivery under every schedule: cuts, kills, backups, full inboxes, links that overlap; in one thread."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.helpers import examples
from support.reliable import World

ROLLS = st.lists(st.integers(0, 999), max_size=120)
ROOMS = st.sampled_from([0, 3, 1_000_000])


def play(world: World, rolls: list[int]) -> World:
    """Let these happen, then everything else."""
    for roll in rolls:
        world.step(roll)
    world.end()
    return world


def rolls_of(seed: int, count: int = 250) -> list[int]:
    """A longer schedule than those that shrink."""
    source = random.Random(seed)
    return [source.randrange(1000) for _ in range(source.randrange(40, count))]


@settings(max_examples=examples(100, 5000), suppress_health_check=[HealthCheck.too_slow])
@given(ROOMS, ROLLS)
def test_without_backups_each_message_is_stored_once_and_in_order(room: int, rolls: list[int]) -> None:
    """Whatever is cut or killed, in both directions, with full inboxes and messages that cannot be stored."""
    play(World(room), rolls)


@settings(max_examples=examples(100, 5000), suppress_health_check=[HealthCheck.too_slow])
@given(ROOMS, ROLLS)
def test_with_backups_nothing_is_lost_in_silence(room: int, rolls: list[int]) -> None:
    """What is missing was told as a count; everything that was put since is there."""
    world = World(room)
    world.backs_up = True
    play(world, rolls)


@settings(max_examples=examples(30, 1000), suppress_health_check=[HealthCheck.too_slow])
@given(ROLLS)
def test_towards_a_plain_peer_nothing_is_lost(rolls: list[int]) -> None:
    """What no answered ping proves to have arrived is sent again."""
    play(World(1_000_000, legacy=True), rolls)


@pytest.mark.parametrize("backs_up", [False, True], ids=["cuts-and-kills", "backups"])
def test_long_schedules_by_the_thousand(backs_up: bool) -> None:
    """More than a search finds: the rare ones need a long history."""
    stored = 0
    for seed in range(examples(250, 5000)):
        world = World((0, 3, 1_000_000)[seed % 3])
        world.backs_up = backs_up
        play(world, rolls_of(seed))
        stored += len(world.up.inbox.log) + len(world.down.inbox.log)
    assert stored > 5_000


RARE = {
    "an old link stores while the sender of a new one is known by numbers only": (10011068, 400),
    "an old link deletes while the new one greets": (10022628, 400),
    "both ends restored one after the other": (1658, 250),
}


@pytest.mark.parametrize(("seed", "count"), RARE.values(), ids=RARE)
def test_rare_schedules_that_once_lost_a_message(seed: int, count: int) -> None:
    """Found by trying tens of thousands."""
    world = World((0, 3, 1_000_000)[seed % 3])
    world.backs_up = True
    play(world, rolls_of(seed, count))
