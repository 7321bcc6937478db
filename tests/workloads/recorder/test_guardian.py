"""The guardian's swapoff goes on where the kernel's gives up half-way."""

from __future__ import annotations

import ctypes
import errno

import pytest

from zswap_gym.workloads.recorder import guardian


class Failing:
    """A libc whose swapoff fails so often."""

    def __init__(self, number: int, times: int) -> None:
        self.number, self.left = number, times

    def swapoff(self, device: bytes) -> int:
        assert device == b"/dev/zram9"
        self.left -= 1
        ctypes.set_errno(self.number)
        return -1 if self.left >= 0 else 0


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EINTR])
def test_what_passes_is_tried_again(number):
    libc = Failing(number, 2)
    guardian._swap_off(libc, "/dev/zram9")
    assert libc.left == -1


def test_what_does_not_pass_is_said(monkeypatch):
    with pytest.raises(OSError, match="swapoff: invalid argument"):
        guardian._swap_off(Failing(errno.EINVAL, 9), "/dev/zram9")
    monkeypatch.setattr(guardian, "SECONDS_TO_SWAPOFF", 0.3)
    libc = Failing(errno.ENOMEM, 99)
    with pytest.raises(OSError, match="swapoff: cannot allocate memory"):
        guardian._swap_off(libc, "/dev/zram9")
    assert 90 < libc.left < 99
