"""Pieces run anywhere, in any order, and give what one process gives; whatever dies or is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from zswap_gym.agents.parallel import ATTEMPTS, InProcess, Processes, cores, open_workers
from zswap_gym.errors import UserError


def double(x: int) -> int:
    return 2 * x


def slow_first(x: int) -> int:
    time.sleep(0.3 if x == 0 else 0.0)
    return x


def where(_: int) -> tuple[int, str | None]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS")


def refuse(x: int) -> int:
    if x == 2:
        raise UserError("scenario 'x': unknown")
    return x


class OddError(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def odd(_: int) -> None:
    raise OddError(1, 2)


def die_once(folder: str, x: int) -> int:
    mark = Path(folder) / f"died-{x}"
    if x % 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def die(folder: str) -> None:
    (Path(folder) / str(time.monotonic_ns())).touch()
    os._exit(1)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_as_many_as_there_are_cores() -> None:
    assert open_workers().count == cores() >= 1
    assert isinstance(open_workers(1), InProcess)
    assert isinstance(open_workers(3), Processes)
    with pytest.raises(UserError, match="workers = 0; give at least 1"):
        open_workers(0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_are_in_the_order_of_the_pieces(count: int) -> None:
    done: list[int] = []
    with open_workers(count) as workers:
        assert workers.run(slow_first, [(x,) for x in range(7)], done.append) == list(range(7))
        assert sorted(done) == list(range(7))
        assert workers.run(double, [(x,) for x in range(3)]) == [0, 2, 4]
        assert workers.run(double, []) == []
    if count > 1:
        assert done[0] != 0  # the slow one ended later and still comes first


def test_workers_stay_and_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with open_workers(2) as workers:
        first = set(workers.run(where, [(x,) for x in range(8)]))
        again = set(workers.run(where, [(x,) for x in range(8)]))
        pids = {pid for pid, _ in first | again}
        assert len(pids) <= 2
        assert os.getpid() not in pids
        assert {threads for _, threads in first} == {"1"}
        assert os.environ["OMP_NUM_THREADS"] == "7"
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize("count", [1, 2])
def test_an_exception_is_raised_as_itself(count: int) -> None:
    with open_workers(count) as workers:
        with pytest.raises(UserError, match=r"^scenario 'x': unknown$"):
            workers.run(refuse, [(x,) for x in range(6)])
        assert workers.run(double, [(4,)]) == [8]


def test_an_exception_that_cannot_travel_is_told() -> None:
    with open_workers(2) as workers, pytest.raises(RuntimeError, match="OddError: 1 and 2"):
        workers.run(odd, [(1,)])


def test_a_lost_workers_piece_runs_again(tmp_path: Path) -> None:
    with open_workers(2) as workers:
        pieces = [(str(tmp_path), x) for x in range(6)]
        assert workers.run(die_once, pieces) == [x * x for x in range(6)]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_piece_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    with open_workers(2) as workers:
        with pytest.raises(UserError, match=f"died {ATTEMPTS} times"):
            workers.run(die, [(str(tmp_path),)])
        assert workers.run(double, [(1,)]) == [2]
    assert len(list(tmp_path.iterdir())) == ATTEMPTS


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    """As at a terminal, SIGINT goes to the whole group: one KeyboardInterrupt, no worker, no other word."""
    (tmp_path / "pieces.py").write_text(
        textwrap.dedent("""
            import os, time
            from pathlib import Path
            def sleep(folder, x):
                (Path(folder) / f"{os.getpid()}.pid").touch()
                time.sleep(60)
        """)
    )
    (tmp_path / "main.py").write_text(
        textwrap.dedent(f"""
            import pieces, signal
            from zswap_gym.agents.parallel import open_workers
            if __name__ == "__main__":
                # a job in the background of a script inherits that SIGINT is ignored
                signal.signal(signal.SIGINT, signal.default_int_handler)
                try:
                    with open_workers(2) as workers:
                        workers.run(pieces.sleep, [({str(tmp_path)!r}, x) for x in range(4)])
                except KeyboardInterrupt:
                    print("interrupted")
        """)
    )
    process = subprocess.Popen(
        [sys.executable, "main.py"], cwd=tmp_path, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(pids) == 2
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (out, err) == ("interrupted\n", "")
    assert not any(alive(pid) for pid in pids)
