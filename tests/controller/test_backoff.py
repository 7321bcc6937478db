"""A cgroup of which nothing could be got is asked more and more rarely, and at once again after success."""

from __future__ import annotations

import errno
from itertools import pairwise

import pytest

from zswap_gym.controller.backoff import Backoff

MIB = 1 << 20


def after(
    backoff: Backoff, at_s: float, done: int = 0, code: int = errno.EAGAIN, asked: int = 2 * MIB
) -> Backoff:
    return backoff.after(at_s, asked, done, code, 30.0, 3600.0)


def asked_in(rounds: int, interval_s: float = 30.0, max_s: float = 3600.0) -> list[int]:
    """The rounds in which a cgroup of which nothing can be got is asked, one round every interval."""
    backoff, asked = Backoff(), []
    for n in range(rounds):
        now_s = n * interval_s - 0.01 * (n % 3)  # rounds come a moment early or late
        if backoff.left_s(now_s) == 0:
            asked.append(n)
            backoff = backoff.after(now_s, 2 * MIB, 0, errno.EAGAIN, interval_s, max_s)
    return asked


def test_rounds_left_out_double() -> None:
    assert asked_in(40) == [0, 2, 6, 14, 30]


def test_the_pause_has_a_cap() -> None:
    rounds = asked_in(1000)
    assert {later - earlier for earlier, later in pairwise(rounds[7:])} <= {120, 121}
    assert asked_in(5, max_s=0.0) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("failures", [1, 5, 5000])
def test_success_ends_it_and_partial_success_is_success(failures: int) -> None:
    backoff = Backoff(failures, 5000.0)
    assert backoff.left_s(4000.0) == 1000.0
    assert after(backoff, 6000.0).failures == failures + 1
    assert after(backoff, 6000.0).until_s <= 6000.0 + 3600.0
    for done, code in ((2 * MIB, 0), (0, 0), (MIB, errno.EAGAIN), (MIB // 32, errno.EAGAIN)):
        assert after(backoff, 6000.0, done, code) == Backoff()


@pytest.mark.parametrize(("done", "code"), [(0, errno.EAGAIN), (4096, errno.EAGAIN), (0, errno.EINVAL)])
def test_next_to_nothing_is_failure(done: int, code: int) -> None:
    assert after(Backoff(), 1000.0, done, code) == Backoff(1, 1045.0)


def test_what_was_not_tried_says_nothing() -> None:
    backoff = Backoff(3, 2000.0)
    assert after(backoff, 1000.0, 0, errno.ECANCELED) is backoff
    assert after(backoff, 1000.0, asked=0) is backoff
