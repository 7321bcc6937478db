"""Debian 12's own kernel, 6.1: what cannot be done there is said, and nothing is touched."""

from __future__ import annotations

from kernelvm.machine import Guest

A = "app/a"


def test_there_can_be_no_pulse_and_the_reason_is_said(old_guest: Guest) -> None:
    assert old_guest.call("kernel").startswith("6.1.")
    old_guest.call("fill", cgroup=A, batches=1)
    (pulse,) = old_guest.call("pulses", asked=[[A, 256]], release=False)
    assert (pulse["written"], pulse["errno"]) == (0, 125)
    assert "no pulse: no-shrinker" in " ".join(pulse["notes"])


def test_the_demo_says_which_kernel_it_needs(old_guest: Guest) -> None:
    ran = old_guest.call("command", arguments="control pulse-demo")
    assert ran["rc"] == 2
    assert "use 6.8 or newer" in ran["err"]
    assert len(ran["err"].splitlines()) == 1
