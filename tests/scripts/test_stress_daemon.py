"""What scripts/stress_daemon.py measures at length, in small: a real daemon, whose engine gives an echo."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

import pytest
import stress_daemon

posix = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc for memory and descriptors")


@posix
async def test_photos_of_four_clients_are_not_mixed_up_and_nothing_leaks():
    """Also the counting itself: a daemon that answers with another's photo must not pass."""
    assert await stress_daemon.load(argparse.Namespace(real=False, photos=40))


@posix
async def test_hostile_requests_are_neither_admitted_nor_crash_it(monkeypatch):
    """One of each kind and more, beside slow connections, while an honest client is served. A connection that ends
    late, as on a busy machine, is no leak."""
    attack = stress_daemon._attack

    async def attack_and_linger(args, port, *more):
        await attack(args, port, *more)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        asyncio.get_running_loop().call_later(2.5, writer.close)

    monkeypatch.setattr(stress_daemon, "_attack", attack_and_linger)
    assert await stress_daemon.hostile(argparse.Namespace(requests=240, seed=7, slow=20, flags=[]))


def test_a_seed_makes_the_same_requests_again():
    """A request that does harm can be found again."""

    def some() -> list[bytes]:
        draw = random.Random(3)
        return [stress_daemon.hostile_request(draw, kind, 2000, "t" * 43) for kind in kinds * 5]

    kinds = [*stress_daemon.KINDS, stress_daemon.NOISE]
    assert some() == some()
    assert len(set(some())) > len(kinds) * 3
