"""The pulse on Debian's own kernels: what it writes, where, and when it writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from kernelvm.machine import Guest

BATCH = 128
A, B, BYSTANDER = "t/a", "t/b", "t/c"

on_one_kernel = pytest.mark.parametrize("kernel", ["6.12"], indirect=True, scope="session")
"""What is about our processes more than about the kernel's."""


def faults(pulses: Sequence[dict[str, Any]]) -> list[str]:
    """What is wrong with pulses, a line each."""
    found = [f"{p['cgroup']}: {p['elsewhere']} pages of others" for p in pulses if p["elsewhere"]]
    found += [f"{p['cgroup']}: the knob is {p['knob']}" for p in pulses if p["knob"] != "N"]
    found += [
        f"{p['cgroup']}: said {p['said']}, wrote {p['written']}" for p in pulses if p["said"] != p["written"]
    ]
    far = [p for p in pulses if abs(p["written"] - p["asked"]) > BATCH]
    if len(far) * 20 > len(pulses):
        told = [(p["asked"], p["written"], p["notes"]) for p in far]
        found.append(f"{len(far)} of {len(pulses)} pulses more than a batch off: {told}")
    return found


def test_two_hundred_pulses_write_what_was_asked_and_nothing_elsewhere(guest: Guest) -> None:
    for cgroup in (A, B):
        guest.call("fill", cgroup=cgroup, batches=8)
    guest.call("fill", cgroup=BYSTANDER, batches=1)
    sizes = (128, 256, 128, 512, 128, 256, 384, 128)
    asked = [((A, B)[i % 2], sizes[i // 2 % len(sizes)]) for i in range(200)]
    pulses = guest.call("pulses", asked=asked)
    assert len(pulses) == 200
    assert not faults(pulses)
    exact = sum(p["written"] == p["asked"] for p in pulses)
    print(f"{exact} of {len(pulses)} exact, {sum(p['written'] for p in pulses)} pages")


def test_the_oldest_are_written_and_released(guest: Guest) -> None:
    guest.call("fill", cgroup=A, batches=3)
    pulses = guest.call("pulses", asked=[(A, 1024)] * 3)
    written = sum(p["written"] for p in pulses)
    assert written >= 3 * 1024 - BATCH
    back = [
        guest.call("touch", cgroup=A, command="read", first=i * 4096, end=(i + 1) * 4096) for i in range(3)
    ]
    # A minor fault is a page still in the swap cache, or one of the few of the program's own.
    assert written <= back[0]["pswpin"] + back[0]["minor"] <= written + 16
    assert back[0]["pswpin"] > 0.9 * sum(p["released"] for p in pulses)
    assert [b["pswpin"] for b in back[1:]] == [0, 0]
    assert max(b["minor"] for b in back[1:]) <= 16


@on_one_kernel
@pytest.mark.parametrize("broken", ["writes-elsewhere", "overshoots", "leaves-the-knob-on"])
def test_a_pulse_that_is_wrong_is_found_wrong(guest: Guest, broken: str) -> None:
    """The checks above fail where they should."""
    for cgroup in (A, B):
        guest.call("fill", cgroup=cgroup, batches=2)
    assert faults(guest.call("broken_pulses", asked=[(A, 256), (A, 128)], broken=broken))


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("writeback", "writeback-disabled"), ("writeback-above", "writeback-disabled"),
        ("shrinker", "shrinker-on"), ("leaf", "leaf"), ("file", "file-cache"),
    ],
)  # fmt: skip
def test_conditions_refuse(guest: Guest, how: str, word: str) -> None:
    guest.call("fill", cgroup=A, batches=1)
    guest.call("spoil", cgroup=A, how=how)
    (pulse,) = guest.call("pulses", asked=[(A, 256)], release=False)
    guest.call("spoil", cgroup=A, how="")
    assert (pulse["written"], pulse["errno"]) == (0, 125)
    assert f"no pulse: {word}" in " ".join(pulse["notes"])
    assert pulse["knob"] == ("Y" if how == "shrinker" else "N")


def test_an_empty_cgroup_is_left_alone(guest: Guest) -> None:
    guest.call("fill", cgroup=A, batches=0, resident=2048)
    (pulse,) = guest.call("pulses", asked=[(A, 256)], release=False)
    assert "no pulse: empty" in " ".join(pulse["notes"])


@on_one_kernel
@pytest.mark.parametrize(
    ("at", "delay_ms"),
    [("note", 0), ("note", 3), ("knob", 0), ("knob", 5), ("knob", 20), ("knob", 60), ("first-page", 0),
     ("first-page", 8), ("first-page", 30), ("first-page", 100)],
)  # fmt: skip
def test_the_knob_is_put_back_when_the_daemon_is_killed(guest: Guest, at: str, delay_ms: float) -> None:
    guest.call("fill", cgroup=A, batches=2)
    left = guest.call("kill_daemon", cgroup=A, at=at, delay_ms=delay_ms)
    assert left["reached"]
    assert left["knob"] == "N"
    assert left["after"] <= 1024 + 2 * BATCH, "the kernel went on writing"


@on_one_kernel
def test_restore_puts_the_knob_back_when_the_guard_is_gone_too(guest: Guest) -> None:
    guest.call("fill", cgroup=A, batches=2)
    for _ in range(5):
        left = guest.call("kill_daemon", cgroup=A, at="knob", delay_ms=0, guard=False)
        if left["knob"] == "Y":
            break
    assert (left["knob"], left["note"]) == ("Y", True)
    ran = guest.call("command", arguments="restore /var/lib/zswap-gym/state.json")
    assert (ran["rc"], guest.call("pulses", asked=[(A, 128)])[0]["knob"]) == (0, "N"), ran
    assert "is N again" in ran["out"]
    assert guest.call("command", arguments="restore /var/lib/zswap-gym/state.json")["rc"] == 0
