"""What two threads can make of eight hosts, from the time each host takes on its thread's own clock.

python experiments/speed/balance.py [--steps 120]

Other processes on the machine do not count, so this can be asked on a busy one. See README.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from zswap_gym.agents.bench.table import STANDARD
from zswap_gym.agents.bench.variants import variant
from zswap_gym.envs import vector
from zswap_gym.envs.crew import Piece
from zswap_gym.envs.vector import WritebackVectorEnv

HOSTS = 8
Split = Callable[[npt.NDArray[np.float64]], Sequence[float]]


def host_times(steps: int) -> tuple[npt.NDArray[np.float64], float]:
    """(steps, HOSTS): microseconds of each host's step; and what a step takes besides, median."""
    rows: list[list[int]] = []

    def one_by_one(pieces: Iterable[Piece], _threads: int) -> None:
        rows.append([])
        for piece in pieces:
            began = time.thread_time_ns()
            piece()
            rows[-1].append(time.thread_time_ns() - began)

    env = WritebackVectorEnv(HOSTS, variant(**STANDARD), objective="bill", threads=1)
    for seed in reversed(range(4)):
        env.reset(seed=seed)
    env.action_space.seed(0)
    vector.run_pieces = one_by_one
    env.fleet.threads = HOSTS  # a piece for each host
    whole = []
    while len(rows) < steps:
        action, began = env.action_space.sample(), time.thread_time_ns()
        env.step(action)
        whole.append(time.thread_time_ns() - began)
    found = np.array(rows) / 1e3
    return found, float(np.median(np.array(whole) / 1e3 - found.sum(1)))


def makespan(pieces: Iterable[float]) -> float:
    """When the later of two threads ends that take the pieces from one queue."""
    ends = [0.0, 0.0]
    for piece in pieces:
        ends[ends.index(min(ends))] += piece
    return max(ends)


def main() -> None:
    """Print what two threads gain over one, by how the hosts are shared out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120)
    times, besides = host_times(parser.parse_args().steps)
    spread = float((times.std(1) / times.mean(1)).mean())
    one = times.sum(1).mean() + besides
    print(
        f"a host {times.mean():.0f} us, hosts of a step differ by {spread:.0%}, besides {besides / one:.1%}"
    )
    splits: dict[str, Split] = {
        "pieces of two hosts": lambda row: row.reshape(-1, 2).sum(1).tolist(),
        "pieces of one host": lambda row: row.tolist(),
        "pieces of one host, longest first": lambda row: sorted(row.tolist(), reverse=True),
    }
    print(f"shared out evenly: x {one / (times.sum(1).mean() / 2 + besides):.2f}")
    for name, split in splits.items():
        two = np.mean([makespan(split(row)) for row in times]) + besides
        print(f"{name}: x {one / two:.2f}")


if __name__ == "__main__":
    main()
