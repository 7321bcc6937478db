"""The recorder against a program whose accesses are known; what it changes it puts back, killed or not."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.recorder.redis_session import Redis
from zswap_gym.errors import UserError
from zswap_gym.workloads.recorder.inject import Tracee, merge, split
from zswap_gym.workloads.recorder.methods import choose, probe
from zswap_gym.workloads.recorder.processes import PROC, open_process, processes_of
from zswap_gym.workloads.recorder.session import record
from zswap_gym.workloads.recording_file import save_recording
from zswap_gym.workloads.traces import load_trace

METHODS = ("pageout", "split")
GETPID = 39
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="paging out and tracing other programs needs root")


def usable(method, pid):
    """Skip, with the recorder's own reason, where this machine does not allow the method."""
    found = {one.method: one for one in probe([open_process(pid)])}
    if found[method].problem:
        pytest.skip(f"{method}: {found[method].problem}")


@needs_root
@pytest.mark.parametrize("method", METHODS)
def test_every_page_touched_is_seen_and_no_other(known, system_state, method, tmp_path):
    pid = known.process.pid
    usable(method, pid)
    before = system_state(pid)
    ticks = []
    recorded, troubles = record(
        [open_process(pid)], method, interval_s=0.5, duration_s=5, samples=100, on_scan=ticks.append
    )
    assert troubles == []
    assert system_state(pid) == before
    assert known.process.poll() is None
    assert len(ticks) == len(recorded.times_s) >= 3
    for touched in recorded.touched:
        found = known.found(recorded.vpn, touched)
        hits = (found & known.truth).sum()
        assert hits / max(found.sum(), 1) >= 0.99
        assert hits / known.truth.sum() >= 0.99
        eighth = len(found) // 8
        assert found[:eighth].mean() >= 0.99  # only read
        assert found[eighth : 2 * eighth].mean() >= 0.99  # only written
    trace = load_trace(save_recording(recorded, tmp_path / "known.npz"))
    assert trace.n_scans == len(recorded.times_s)
    assert np.array_equal(trace.touched(), recorded.touched)
    assert np.array_equal(trace.allocated(), recorded.allocated)
    # Half of the bytes of the buffer are random: no compressor gets below a third.
    middle = np.median(trace.measured_size[trace.measured_kind == 0], axis=0)
    assert ((middle > 500) & (middle <= 4096)).all()


@needs_root
def test_coarser_chunks_are_a_superset(known):
    pid = known.process.pid
    usable("split", pid)
    recorded, _ = record(
        [open_process(pid)], "split", interval_s=0.4, duration_s=4, chunk_pages=8, samples=50
    )
    found = known.found(recorded.vpn, recorded.touched[-1])
    assert (found | ~known.truth).mean() >= 0.99
    assert recorded.meta["unit_bytes"] == 32768


@needs_root
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "blow",
    [signal.SIGKILL, *(pytest.param(s, marks=pytest.mark.slow) for s in (signal.SIGTERM, signal.SIGINT))],
)
def test_a_killed_recorder_leaves_nothing_behind(known, system_state, method, blow, tmp_path):
    pid = known.process.pid
    usable(method, pid)
    before = system_state(pid)
    recorder = subprocess.Popen(
        [sys.executable, "-m", "zswap_gym.cli", "record", str(pid), "--method", method, "--interval", "0.5s",
         "--duration", "60s", "-o", str(tmp_path / "cut.npz"), "--samples", "50"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    looks = [recorder.stderr.readline() for _ in range(4)]  # one line for each
    assert all("pages touched" in look for look in looks), looks
    assert system_state(pid) != before
    recorder.send_signal(blow)
    recorder.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while system_state(pid) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert system_state(pid) == before
    assert known.process.poll() is None
    # Ctrl-C keeps what was seen; a kill leaves no half-written file.
    assert [path.name for path in tmp_path.iterdir()] == (["cut.npz"] if blow == signal.SIGINT else [])
    if blow == signal.SIGINT:
        assert load_trace(tmp_path / "cut.npz").n_scans >= 3


# The handler writes into a pipe: one that came just before signal.pause() would wait for the next signal.
SIGNALLED = """
import ctypes, mmap, os, signal
memory = mmap.mmap(-1, 4096 * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
come, went = os.pipe()
os.set_blocking(went, False)
signal.set_wakeup_fd(went)
signal.signal(signal.SIGUSR1, lambda *_: None)
print(ctypes.addressof(ctypes.c_char.from_buffer(memory)), flush=True)
while os.read(come, 1):
    print("seen", flush=True)
"""


@pytest.fixture
def signalled():
    """The program and where its memory starts; killed after a minute, so that a hang is a failure."""
    # A group of its own: SIGTSTP does not stop an orphaned one (kernel/signal.c:get_signal()).
    program = subprocess.Popen(
        [sys.executable, "-c", SIGNALLED], stdout=subprocess.PIPE, text=True, process_group=0
    )
    watchdog = threading.Timer(60, program.kill)
    watchdog.start()
    yield program, int(program.stdout.readline())
    watchdog.cancel()
    program.kill()
    program.wait()


@needs_root
@pytest.mark.skipif(platform.machine() != "x86_64", reason="splitting VMAs is written for x86-64")
def test_a_program_stopped_and_signalled_while_its_mappings_are_split(signalled, system_state):
    """Ctrl-Z and fg, a SIGSTOP from outside, signals of its own: all arrive, and it goes on."""
    program, start = signalled
    before = system_state(program.pid)
    answers = []

    def bother():
        rng = np.random.default_rng(0)
        for stop in [signal.SIGSTOP, signal.SIGTSTP] * 40:
            for number in (stop, signal.SIGUSR1, signal.SIGCONT):
                os.kill(program.pid, number)
                time.sleep(rng.uniform(0, 0.005))
            answers.append(program.stdout.readline())

    worker = threading.Thread(target=bother)
    worker.start()
    while worker.is_alive() and program.poll() is None:
        split(program.pid, [(start, start + 4096 * 4096)], 4096)
        merge(program.pid, [(start, start + 4096 * 4096)])
    worker.join(10)
    assert program.poll() is None
    assert answers == ["seen\n"] * 80
    assert system_state(program.pid) == before


@needs_root
@pytest.mark.skipif(platform.machine() != "x86_64", reason="splitting VMAs is written for x86-64")
@pytest.mark.parametrize("stop", [signal.SIGSTOP, signal.SIGTSTP])
@pytest.mark.parametrize("continued", [False, True])
def test_the_last_of_stop_and_continue_decides(signalled, stop, continued):
    """However late it comes: a SIGTSTP caught and sent again would come after the SIGCONT."""
    program, _ = signalled
    with Tracee(program.pid) as tracee:
        os.kill(program.pid, stop)
        assert tracee.syscall(GETPID) == program.pid
        os.kill(program.pid, signal.SIGUSR1)
        if continued:
            os.kill(program.pid, signal.SIGCONT)
    if not continued:
        time.sleep(0.2)
        assert Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        os.kill(program.pid, signal.SIGCONT)
    assert program.stdout.readline() == "seen\n"


@needs_root
@pytest.mark.skipif(platform.machine() != "x86_64", reason="splitting VMAs is written for x86-64")
def test_every_signal_arrives_once_and_the_mask_is_the_programs_own(signalled):
    program, _ = signalled

    def mask():
        status = Path(f"/proc/{program.pid}/status").read_text().splitlines()
        return [line for line in status if line.startswith(("SigBlk", "SigPnd", "ShdPnd"))]

    before = mask()
    for _ in range(20):
        with Tracee(program.pid) as tracee:
            os.kill(program.pid, signal.SIGUSR1)
            assert tracee.syscall(GETPID) == program.pid
            assert mask() != before
        assert program.stdout.readline() == "seen\n"
        assert mask() == before


@needs_root
def test_a_cgroups_processes_are_recorded_together(known, tmp_path):
    pid = known.process.pid
    usable("pageout", pid)
    other = subprocess.Popen([sys.executable, "-c", "import time; x = bytearray(8 << 20); time.sleep(60)"])
    try:
        (tmp_path / "cgroup.procs").write_text(f"{pid}\n{other.pid}\n")
        assert processes_of(tmp_path) == sorted([pid, other.pid])
        time.sleep(0.5)
        both = [open_process(pid, 0), open_process(other.pid, 1)]
        recorded, _ = record(both, "pageout", interval_s=0.5, duration_s=3, samples=100)
        assert recorded.name.endswith("+1")
        assert len(np.unique(recorded.vpn >> 36)) == 2
        assert (np.diff(recorded.vpn) > 0).all()
    finally:
        other.kill()
        other.wait()


@needs_root
def test_a_program_that_ends_is_said_to_have_ended(known):
    usable("pageout", known.process.pid)
    process = open_process(known.process.pid)
    known.process.kill()
    known.process.wait()
    with pytest.raises(UserError, match=r"before the end|ended before"):
        record([process], "pageout", interval_s=0.3, duration_s=2, samples=50)


@needs_root
@pytest.mark.skipif(platform.machine() != "x86_64", reason="splitting VMAs is written for x86-64")
def test_a_program_is_let_go_where_it_could_not_be_prepared(signalled, monkeypatch):
    program, _ = signalled
    monkeypatch.setattr(Tracee, "_block", lambda *_: (_ for _ in ()).throw(OSError(5, "as if")))
    with pytest.raises(OSError, match="as if"), Tracee(program.pid):
        pass
    os.kill(program.pid, signal.SIGUSR1)
    assert program.stdout.readline() == "seen\n"
    assert "TracerPid:\t0" in Path(f"/proc/{program.pid}/status").read_text()


# --- refusals ---------------------------------------------------------------------------------------


def test_a_dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(UserError, match=rf"PID {child.pid}: no such process"):
        open_process(child.pid)
    with pytest.raises(UserError, match="above 0"):
        open_process(-1)


def test_a_zombie():
    child = subprocess.Popen([sys.executable, "-c", ""])
    time.sleep(0.5)
    with pytest.raises(UserError, match="has ended"):
        open_process(child.pid)
    child.wait()


def test_a_kernel_thread():
    threads = [p for p in PROC.glob("[0-9]*/status") if "VmSize" not in p.read_text()]
    kernel = [p.parent.name for p in threads if (p.parent / "cmdline").read_bytes() == b""]
    if not kernel:
        pytest.skip("no kernel thread can be seen from here")
    with pytest.raises(UserError, match="kernel thread"):
        open_process(int(kernel[0]))


def test_this_process():
    with pytest.raises(UserError, match="this recorder"):
        open_process(os.getpid())


@needs_root
def test_no_rights(known):
    os.seteuid(65534)
    try:
        with pytest.raises(UserError, match=r"PID \d+ \(python.*\): no rights to look into its memory"):
            open_process(known.process.pid)
    finally:
        os.seteuid(0)


def test_no_swap_and_no_zram(known, monkeypatch, tmp_path):
    monkeypatch.setattr("zswap_gym.workloads.recorder.methods.ZRAM", tmp_path / "none")
    monkeypatch.setattr("zswap_gym.workloads.recorder.methods._swap_there", lambda: False)
    monkeypatch.setattr("zswap_gym.workloads.recorder.methods.os.geteuid", lambda: 0)
    monkeypatch.setattr("zswap_gym.workloads.recorder.methods.MODULES", tmp_path)
    process = open_process(known.process.pid)
    with pytest.raises(UserError, match="--method pageout: no swap, and no zram"):
        choose("pageout", [process])
    monkeypatch.setattr("zswap_gym.workloads.recorder.methods.platform.machine", lambda: "riscv64")
    with pytest.raises(UserError, match=r"no method .*no swap.*x86-64"):
        choose("auto", [process])


def test_too_short(known):
    with pytest.raises(UserError, match="at least 3 intervals"):
        record([open_process(known.process.pid)], "pageout", interval_s=1, duration_s=2)
    with pytest.raises(UserError, match="--interval"):
        record([open_process(known.process.pid)], "pageout", interval_s=0.01, duration_s=2)


def test_what_is_no_cgroup(tmp_path):
    with pytest.raises(UserError, match="is no cgroup"):
        processes_of(tmp_path)


# --- a real server ------------------------------------------------------------------------------------


@needs_root
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="splitting VMAs is written for x86-64")
@pytest.mark.parametrize("method", METHODS)
def test_a_live_redis_is_unharmed(system_state, method, tmp_path):
    """Under load, recorded and killed midway, then recorded again: every key keeps its value."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL, cwd=tmp_path,
    )  # fmt: skip
    try:
        talk = Redis(port)
        value = {k: (f"v{k}" * 120).encode() for k in range(20000)}
        for k, v in value.items():
            talk.ask([(b"SET", b"k%d" % k, v)])
        before = system_state(server.pid)
        recorder = subprocess.Popen(
            [sys.executable, "-m", "zswap_gym.cli", "record", str(server.pid), "--method", method,
             "--interval", "0.5s", "--duration", "60s", "-o", str(tmp_path / "cut.npz")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 6
        while time.monotonic() < end:
            talk.ask([(b"GET", b"k%d" % int(np.random.default_rng().integers(20000)))])
        recorder.kill()
        recorder.wait()
        deadline = time.monotonic() + 60
        while system_state(server.pid)["swaps"] != before["swaps"] and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        after = system_state(server.pid)
        assert {k: after[k] for k in after if k != "maps"} == {k: before[k] for k in before if k != "maps"}
        assert abs(after["maps"] - before["maps"]) <= 3  # jemalloc maps and unmaps on its own
        recorded, troubles = record(
            [open_process(server.pid)], method, interval_s=0.5, duration_s=8, samples=100
        )
        assert troubles == []
        assert recorded.allocated.any()
        for k, v in value.items():
            assert talk.ask([(b"GET", b"k%d" % k)]) == [v]
    finally:
        server.kill()
        server.wait()


def test_a_machine_with_other_pages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda _: 16384)
    with pytest.raises(UserError, match=r"this machine's pages are 16 KiB, a recording is of 4 KiB pages"):
        open_process(os.getpid())
