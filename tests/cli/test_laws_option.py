"""--laws is split where a law ends, not inside its parameters or its arm."""

from __future__ import annotations

import pytest

from zswap_gym.cli.evaluate import split_laws
from zswap_gym.policy.laws import LAWS


@pytest.mark.parametrize(
    ("text", "laws"),
    [
        ("none", []),
        ("all", list(LAWS)),
        ("never", ["never"]),
        ("never, tmo ,never", ["never", "tmo"]),
        ("fixed_age(age_s=30,max_bytes=8M),tmo", ["fixed_age(age_s=30,max_bytes=8M)", "tmo"]),
        ("never@max_pool_percent=9,device=hdd,tmo", ["never@max_pool_percent=9,device=hdd", "tmo"]),
        ("fixed_age(age_s=30)@device=hdd,aimd", ["fixed_age(age_s=30)@device=hdd", "aimd"]),
    ],
)  # fmt: skip
def test_split(text: str, laws: list[str]) -> None:
    assert split_laws(text) == laws
