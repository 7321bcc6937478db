"""--laws is split where a law ends, not inside its parameters or its arm."""

from __future__ import annotations

from pathlib import Path

import pytest

from zswap_gym.agents.contestants import KERNEL_ARMS, rules
from zswap_gym.cli.evaluate import split_laws
from zswap_gym.policy.laws import LAWS


@pytest.mark.parametrize(
    ("text", "laws"),
    [
        ("none", []),
        ("never", ["never"]),
        ("never, tmo ,never", ["never", "tmo"]),
        ("fixed_age(age_s=30,max_bytes=8M),tmo", ["fixed_age(age_s=30,max_bytes=8M)", "tmo"]),
        ("never@max_pool_percent=9,device=hdd,tmo", ["never@max_pool_percent=9,device=hdd", "tmo"]),
        ("fixed_age(age_s=30)@device=hdd,aimd", ["fixed_age(age_s=30)@device=hdd", "aimd"]),
    ],
)  # fmt: skip
def test_split(text: str, laws: list[str]) -> None:
    assert split_laws(text) == {law: law for law in laws}


def test_all_are_every_law_its_tuned_file_and_the_kernels_own_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "laws").mkdir(parents=True)
    file = tmp_path / "configs" / "laws" / "aimd.yaml"
    file.write_text("law: aimd\nparameters: {target: 0.0005}\ntuned: {on: mixed-host}\n")
    found = split_laws("all")
    assert found["aimd tuned"] == str(file)
    assert found.items() >= {name: name for name in (*LAWS, *KERNEL_ARMS)}.items()
    assert split_laws(f"never,{file}") == {"never": "never", str(file): str(file)}
    assert "aimd" not in rules(untuned=False)
    assert {"promise tuned", "promise-release tuned"} <= set(rules(untuned=False))
