"""The controller runs with the standard library and numpy: nothing else is imported, not even lazily."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from zswap_gym.controller.decider import PolicyDecider
from zswap_gym.policy.contract import Contract
from zswap_gym.policy.features import FEATURES, HOST_FEATURES
from zswap_gym.policy.runtime import Layer, Normaliser, Policy

ROOT = Path(__file__).parents[2]

# A finder before all others: whatever is not the standard library, numpy or ours cannot be imported.
PROGRAM = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in {"numpy", "zswap_gym"} and top not in sys.stdlib_module_names:
            raise ImportError(f"{name} is outside the wall")
        return None

sys.meta_path.insert(0, Wall())
loaded = set(sys.modules)
tree, policy, log = sys.argv[1:]

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.decider import from_config
from zswap_gym.controller.loop import Controller
from zswap_gym.controller.preconditions import on_this_host, own_cgroup
from zswap_gym.controller.replay import replay
from zswap_gym.host.linux import LinuxHost

config = ControllerConfig.from_mapping(
    {"mode": "act", "cgroups": ["*"], "interval": 1, "policy": policy, "law": "aimd", "log": log,
     "cgroup_root": tree + "/cgroup", "proc_root": tree + "/proc", "sys_root": tree + "/sys"}
)
config = on_this_host(config)
host = LinuxHost(config.cgroup_root, proc_root=config.proc_root, sys_root=config.sys_root)
own = own_cgroup(config).name
Controller(host, from_config(config), config, own=own, complain=lambda _: None).run(ticks=1)
result = replay(log)
assert result.decisions == 3 and not result.mismatches, result
tops = {name.partition(".")[0] for name in set(sys.modules) - loaded}
print(*sorted(tops - set(sys.stdlib_module_names)))
"""


def test_a_tick_needs_only_the_standard_library_and_numpy(tree: Path, tmp_path: Path) -> None:
    import numpy as np

    inputs = 3 * len(FEATURES) + len(HOST_FEATURES)
    norm = np.ones(2, np.float32), np.zeros(2, np.float32)
    layers = (
        Layer(np.ones((2, inputs), np.float32), np.zeros(2, np.float32), "tanh", norm),
        Layer(np.ones((3, 2), np.float32), np.zeros(3, np.float32)),
    )
    scale = Normaliser(np.zeros(inputs), np.ones(inputs), 8.0, 1e-4)
    policy = Policy(layers, scale, Contract(1.0), {})
    PolicyDecider(policy)
    path = policy.save(tmp_path / "policy.npz")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tree), str(path), str(tmp_path / "log.jsonl")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["numpy", "zswap_gym"]
