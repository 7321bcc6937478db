"""A Ray cluster runs pieces as processes of this machine do; what it loses runs again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.test_parallel import OddError, die, die_once, double, odd, refuse, slow_first, where
from zswap_gym.agents.parallel import InProcess, Workers, open_workers
from zswap_gym.errors import UserError
from zswap_gym.kernel.jit import CACHE_DIR

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="the extra cluster is not installed: pip install -c constraints.txt ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Workers]:
    with open_workers(2, "local") as workers:
        assert workers.count <= 2
        yield workers


def test_results_are_in_the_order_of_the_pieces(cluster: Workers) -> None:
    pieces = [(x,) for x in range(7)]
    ended: list[int] = []
    assert cluster.run(slow_first, pieces, ended.append) == InProcess().run(slow_first, pieces)
    assert sorted(ended) == list(range(7))
    assert cluster.run(double, []) == []
    assert {threads for _, threads in cluster.run(where, [(k,) for k in range(4)])} == {"1"}


def test_what_a_piece_raises_is_raised_here_and_the_workers_go_on(cluster: Workers) -> None:
    with pytest.raises(UserError, match="scenario 'x': unknown") as caught:
        cluster.run(refuse, [(x,) for x in range(6)])
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises((OddError, RuntimeError), match="1 and 2"):
        cluster.run(odd, [(0,)])
    assert cluster.run(double, [(4,)]) == [8]


def test_the_piece_of_a_lost_worker_runs_again(cluster: Workers, tmp_path: Path) -> None:
    assert cluster.run(die_once, [(str(tmp_path), x) for x in range(6)]) == [0, 1, 4, 9, 16, 25]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_piece_that_kills_every_worker_is_given_up(cluster: Workers, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="died 3 times over the same piece"):
        cluster.run(die, [(str(tmp_path),)])
    assert len(list(tmp_path.iterdir())) == 3


def test_no_cluster_is_said_in_one_line() -> None:
    script = "from zswap_gym.cli.main import main; raise SystemExit(main({!r}))"
    args = ["evaluate", "--scenario", "single-kv", "--laws", "never", "--cluster", "127.0.0.1:1"]
    done = subprocess.run(
        [sys.executable, "-c", script.format(args)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("zswap-gym: --cluster 127.0.0.1:1: no Ray cluster answers there")


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither the pieces nor the Ray that was started for them."""
    script = textwrap.dedent(
        f"""
        import signal
        from pathlib import Path
        from tests.agents.test_cluster import note_and_sleep
        from zswap_gym.agents.parallel import open_workers
        # a job in the background of a script inherits that SIGINT is ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with open_workers(2, "local") as workers:
            workers.run(note_and_sleep, [({str(tmp_path)!r},)] * 2)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(pids := [int(path.name) for path in tmp_path.iterdir()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(180) != 0
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def note_and_sleep(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


@pytest.mark.parametrize("laws", ["never,fixed_age(age_s=60)", "hindsight,oracle"])
def test_evaluation_on_a_cluster_is_the_same(laws: str, tmp_path: Path) -> None:
    """What those that know the future find too; each side searches, in a cache of its own."""
    scenario = tmp_path / "small.yaml"
    scenario.write_text(SMALL)
    here, there = (
        json.loads(
            on(place, tmp_path, "evaluate", "--scenario", scenario, "--laws", laws, "--seeds", 2, "--json")
        )
        for place in PLACES
    )
    for results in (here, there):
        del results["provenance"]["command"], results["provenance"]["when"]
        for trial in results["trials"]:
            del trial["decide_us"]  # it is of the clock
    assert here == there


def test_advice_on_a_cluster_is_the_same(tmp_path: Path) -> None:
    args = ("advise", "sidecar", "--ages", "60,100", "--budgets", "1M", "--json", tmp_path / "advice.json")
    told = []
    for place in PLACES:
        on(place, tmp_path, *args)
        told.append(json.loads((tmp_path / "advice.json").read_text()))
    assert told[0] == told[1]


SMALL = """
name: small
host: {page_scale: 8}
stage_one: {kind: fixed, rate: 256K, interval: 1s}
cgroups:
  - {name: kv, workload: {archetype: kv_zipf, pages: 1024}}
  - {name: agent, workload: {archetype: sidecar_agent, pages: 512}}
episode: {decision_interval: 20s, length: 10m, warmup: 3m}
"""
PLACES = (("--workers", "1"), ("--cluster", "local"))


def on(place: tuple[str, str], folder: Path, *args: object) -> str:
    """What a command prints, run there, with a cache that holds compiled code alone."""
    cache = folder / place[0]
    shutil.copytree(CACHE_DIR, cache / CACHE_DIR.name)
    environment = os.environ | {"ZSWAP_GYM_CACHE": str(cache)}
    command = [sys.executable, "-m", "zswap_gym.cli", *(str(arg) for arg in args), *place]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=600
    ).stdout
