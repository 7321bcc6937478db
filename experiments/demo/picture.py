"""The picture in the README: one episode of a host under a rule, as the environment renders it.

python experiments/demo/picture.py [--law LAW] [--scenario NAME] [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.image

from zswap_gym.envs.writeback import WritebackEnv
from zswap_gym.policy.laws import make_law


def main() -> None:
    """Run the episode and save its last frame."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--law", default="aimd")
    parser.add_argument("--scenario", default="kv-and-sidecar")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("picture.png"))
    told = parser.parse_args()
    env = WritebackEnv(told.scenario, render_mode="rgb_array")
    env.reset(seed=1000)
    law = make_law(told.law)
    law.reset(len(env.cgroups))
    over = False
    while not over:
        *_, over, _ = env.step_requests(law.decide(env.table, env.interval_s))
    matplotlib.image.imsave(told.out, env.render())


if __name__ == "__main__":
    main()
