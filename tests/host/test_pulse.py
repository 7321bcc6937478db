"""The pulse over a tree whose kernel is played: conditions, order of writes, what is put back."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zswap_gym.errors import UserError
from zswap_gym.host import pulse as module
from zswap_gym.host.cgroup_files import open_folder, write_file
from zswap_gym.host.dialects import STOCK_PULSE
from zswap_gym.host.linux import LinuxHost
from zswap_gym.host.pulse import BATCH, FILE_MAX, PULSE_MAX, Pulser, rounded
from zswap_gym.host.pulse_note import Guard, Note, note_path, restore, write_note
from zswap_gym.host.types import Request

BOOT = "6f1a"


class Kernel:
    """Plays memory.reclaim with the shrinker on: entries are written in batches while the knob says Y.

    Pulses reclaim in a process of its own: all that changes is in files.
    """

    def __init__(self, tree: Path, entries: int = 4096) -> None:
        self.entries, self.spares, self.others = entries, False, 0
        self.stat = tree / "cgroup/web/memory.stat"
        self.vmstat = tree / "proc/vmstat"
        self.knob = tree / "sys/module/zswap/parameters/shrinker_enabled"
        self._order = tree / "order"
        self.knows_swappiness = True
        self.tell(0)

    @property
    def written(self) -> int:
        """Pages so far."""
        return int(self.stat.read_text().split()[1])

    @property
    def order(self) -> list[str]:
        """What was written to which file."""
        return self._order.read_text().splitlines() if self._order.exists() else []

    def note(self, words: str) -> None:
        with self._order.open("a") as file:
            file.write(f"{words}\n")

    def tell(self, written: int) -> None:
        keys = {
            "zswpwb": written, "zswapped": (self.entries - written) * 4096,
            "inactive_file": 0, "active_file": 0, "pgsteal": 0,
        }  # fmt: skip
        _replace(self.stat, "".join(f"{key} {value}\n" for key, value in keys.items()))
        others = self.others if written else 0
        counted = f"nr_free_pages 9\npgscan_kswapd 0\nzswpwb {written + others:<6}\n"
        with self.vmstat.open("r+b" if self.vmstat.exists() else "w+b", buffering=0) as file:
            file.write(counted.encode())  # in place, as the watcher holds it open

    def write(self, folder: int | None, file: str | Path, text: str) -> int:
        name = Path(file).name
        self.note(f"{name}={text}")
        if name != "memory.reclaim":
            return write_file(folder, file, text)
        if "swappiness" in text and not self.knows_swappiness:
            return errno.EINVAL
        if text.startswith("0 "):
            return 0
        written = self.written
        while self.knob.read_text().strip() == "Y" and written < self.entries and not self.spares:
            for _ in range(4):
                written += BATCH // 4
                self.tell(written)
                time.sleep(0.02)  # ten times the watcher's nap: a busy machine must not overshoot
        return errno.EAGAIN


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}")
    new.write_text(text)
    new.replace(path)


@pytest.fixture
def kernel(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tree)
    (tree / "cgroup/web/memory.zswap.proactive_writeback").unlink()
    monkeypatch.setattr(module, "write_file", kernel.write)
    return kernel


@pytest.fixture
def pulser(tree: Path, kernel: Kernel) -> Pulser:  # noqa: ARG001 - it is played
    return Pulser(tree / "state.json", tree / "cgroup", tree / "proc", tree / "sys", BOOT, 4096)


@pytest.fixture
def web(tree: Path) -> Iterator[tuple[int, Path]]:
    path = tree / "cgroup/web"
    with open_folder(path) as folder:
        yield folder, path


@pytest.mark.parametrize("pages", [128, 256, 1000, 1024])
def test_a_pulse_writes_what_was_asked_in_whole_batches(
    pulser: Pulser, kernel: Kernel, web: tuple[int, Path], pages: int
) -> None:
    pulsed = pulser.pulse(*web, pages)
    assert pulsed.errno == 0
    assert abs(pulsed.pages - rounded(pages)) <= BATCH
    assert pulsed.pages == kernel.written
    assert kernel.knob.read_text() == "N\n"
    assert not note_path(pulser.state).exists()


def test_a_kernel_whose_kswapd_cannot_be_seen_is_not_pulsed(
    pulser: Pulser, kernel: Kernel, web: tuple[int, Path]
) -> None:
    kernel.vmstat.unlink(missing_ok=True)
    pulser.watch()
    assert "vmstat is missing" in str(pulser.refusal(*web))
    assert pulser.pulse(*web, 128).pages == 0
    assert kernel.written == 0


def test_sizes_are_whole_batches_up_to_a_bound() -> None:
    assert [rounded(n) for n in (1, 127, 128, 300, 1024, 10**6)] == [128, 128, 128, 256, 1024, PULSE_MAX]


def test_the_note_comes_before_the_knob(
    pulser: Pulser, kernel: Kernel, web: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(path: Path, note: Note) -> None:
        kernel.note("note")
        write_note(path, note)

    monkeypatch.setattr(module, "write_note", noted)
    pulser.pulse(*web, 128)
    assert kernel.order == [
        "memory.reclaim=0 swappiness=0", "note", "shrinker_enabled=Y", "memory.reclaim=4096 swappiness=0"
    ]  # fmt: skip


def test_where_no_note_can_be_written_nothing_is_touched(
    pulser: Pulser, kernel: Kernel, web: tuple[int, Path]
) -> None:
    pulser.state = Path("/proc/no/such/place")
    pulsed = pulser.pulse(*web, 128)
    assert pulsed.errno == errno.ECANCELED
    assert "shrinker_enabled=Y" not in kernel.order


def test_without_the_key_swappiness_a_full_swap_max_keeps_pages_in(
    pulser: Pulser, kernel: Kernel, web: tuple[int, Path]
) -> None:
    kernel.knows_swappiness = False
    swap_max = web[1] / "memory.swap.max"
    before, current = swap_max.read_text(), (web[1] / "memory.swap.current").read_text()
    assert abs(pulser.pulse(*web, 128).pages - 128) <= BATCH
    assert f"memory.swap.max={current.strip()}" in kernel.order
    assert "memory.reclaim=4096" in kernel.order
    assert swap_max.read_text() == before


SPOILED: dict[str, Callable[[Path], object]] = {
    "no-shrinker": lambda t: (t / "sys/module/zswap/parameters/shrinker_enabled").unlink(),
    "shrinker-on": lambda t: (t / "sys/module/zswap/parameters/shrinker_enabled").write_text("Y\n"),
    "no-reclaim": lambda t: (t / "cgroup/web/memory.reclaim").unlink(),
    "psi": lambda t: (t / "cgroup/web/memory.pressure").write_text(
        "some avg10=7.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    ),
    "leaf": lambda t: (t / "cgroup/web/below").mkdir(),
    "writeback-disabled": lambda t: (t / "cgroup/web/memory.zswap.writeback").write_text("0\n"),
    "empty": lambda t: _put(t, "zswapped", 0),
    "file-cache": lambda t: _put(t, "inactive_file", FILE_MAX + 4096),
    "unreadable": lambda t: (t / "cgroup/web/memory.stat").write_text("zswapped many\n"),
}


def _put(tree: Path, key: str, value: int) -> None:
    stat = tree / "cgroup/web/memory.stat"
    lines = [line for line in stat.read_text().splitlines() if not line.startswith(key)]
    stat.write_text("\n".join([*lines, f"{key} {value}"]) + "\n")


@pytest.mark.parametrize("condition", SPOILED)
def test_every_condition_refuses_and_says_which(
    tree: Path, pulser: Pulser, kernel: Kernel, web: tuple[int, Path], condition: str
) -> None:
    assert pulser.refusal(*web) is None
    SPOILED[condition](tree)
    before = kernel.order
    pulsed = pulser.pulse(*web, 128)
    assert (pulsed.errno, pulsed.pages) == (errno.ECANCELED, 0)
    assert f"no pulse: {condition}: " in pulsed.notes[0]
    assert kernel.order == before


def test_kswapd_must_have_rested_since_the_last_reading(
    pulser: Pulser, kernel: Kernel, web: tuple[int, Path]
) -> None:
    pulser.watch()
    kernel.vmstat.write_text("pgscan_kswapd 64\nzswpwb 0\n")
    assert "kswapd: it looked at 64 pages" in pulser.pulse(*web, 128).notes[0]
    assert pulser.refusal(*web) is None


def test_second_chances_are_told_from_failure(pulser: Pulser, kernel: Kernel, web: tuple[int, Path]) -> None:
    kernel.spares = True
    codes = []
    for _ in range(3):
        pulsed = pulser.pulse(*web, 256)
        codes.append(pulsed.errno)
    assert codes == [0, 0, errno.EAGAIN]
    assert "3 pulses in a row wrote nothing" in pulsed.notes
    kernel.spares = False
    assert pulser.pulse(*web, 256).pages > 0
    kernel.spares = True
    assert "took away second chances" in pulser.pulse(*web, 256).notes[0]


def test_less_than_asked_is_said(pulser: Pulser, kernel: Kernel, web: tuple[int, Path]) -> None:
    kernel.entries = BATCH
    kernel.tell(0)
    pulsed = pulser.pulse(*web, 1024)
    assert (pulsed.errno, pulsed.pages) == (errno.EAGAIN, BATCH)
    assert pulsed.notes == ("the pulse ended by itself after 128 of 1024 pages",)


def test_the_time_limit_turns_the_shrinker_off(pulser: Pulser, kernel: Kernel, web: tuple[int, Path]) -> None:
    pulser.timeout_s = 0.0
    pulsed = pulser.pulse(*web, 1024)
    assert pulsed.errno == errno.ETIME
    assert pulsed.pages <= BATCH
    assert kernel.knob.read_text() == "N\n"


def test_pages_of_others_are_told(
    pulser: Pulser, kernel: Kernel, web: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.05)
    kernel.others = 40
    assert "40 pages of other cgroups were written back meanwhile" in pulser.pulse(*web, 256).notes


# --- what is put back ------------------------------------------------------------------------------


def test_the_guard_puts_back_what_a_killed_process_leaves(tree: Path) -> None:
    knob = tree / "sys/module/zswap/parameters/shrinker_enabled"
    knob.write_text("Y\n")
    swap_max = tree / "cgroup/web/memory.swap.max"
    line = (
        "import time; from zswap_gym.host.pulse_note import Guard, Note;"
        f"guard = Guard(Note('b', {str(knob)!r}, {str(swap_max)!r}, '77'));"
        "print('up', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", line], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert knob.read_text() == "Y\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 10
    while swap_max.read_text() != "77\n" and time.monotonic() < until:
        time.sleep(0.01)
    assert (knob.read_text(), swap_max.read_text()) == ("N\n", "77\n")


def test_a_dismissed_guard_does_nothing(tree: Path) -> None:
    knob = tree / "sys/module/zswap/parameters/shrinker_enabled"
    knob.write_text("Y\n")
    Guard(Note(BOOT, str(knob))).dismiss()
    assert knob.read_text() == "Y\n"


def _cut_off(tree: Path, boot_id: str = BOOT) -> tuple[Path, Path]:
    knob = tree / "sys/module/zswap/parameters/shrinker_enabled"
    knob.write_text("Y\n")
    write_note(note_path(tree / "state.json"), Note(boot_id, str(knob)))
    return tree / "state.json", knob


def test_restore_puts_the_knob_back_once(tree: Path) -> None:
    state, knob = _cut_off(tree)
    assert "is N again" in (restore(state, BOOT) or "")
    assert knob.read_text() == "N\n"
    knob.write_text("Y\n")
    assert restore(state, BOOT) is None
    assert knob.read_text() == "Y\n", "what somebody else turned on is theirs"


def test_a_note_of_another_boot_is_thrown_away(tree: Path) -> None:
    state, knob = _cut_off(tree, boot_id="another")
    assert "went down" in (restore(state, BOOT) or "")
    assert knob.read_text() == "Y\n"
    assert not note_path(state).exists()


@pytest.mark.parametrize("text", ["", "{}", "[1]", json.dumps({"boot_id": "x", "knob": "y", "more": 1})])
def test_a_spoilt_note_is_one_line_that_says_what_to_do(tree: Path, text: str) -> None:
    note_path(tree / "state.json").write_text(text)
    with pytest.raises(UserError, match=r"not a pulse's note.*echo N"):
        restore(tree / "state.json", BOOT)


def test_the_host_restores_at_its_start_and_pulses(tree: Path, kernel: Kernel) -> None:
    boot = tree / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text(f"{BOOT}\n")
    state, knob = _cut_off(tree)
    host = LinuxHost(
        tree / "cgroup", patterns=["web"], proc_root=tree / "proc", sys_root=tree / "sys",
        dialect=STOCK_PULSE, state=state,
    )  # fmt: skip
    assert knob.read_text() == "N\n"
    assert any("is N again" in note for note in host.notes())
    assert not host.has_age("web")
    assert host.submit("web", Request(60, 256 * 4096, 512 * 4096))
    finished: list[tuple[str, object]] = []
    while not finished:
        finished = list(host.outcomes())
        time.sleep(0.01)
    ((_, outcome),) = finished
    assert abs(outcome.pages - 256) <= BATCH  # type: ignore[attr-defined]
    assert outcome.pages == kernel.written  # type: ignore[attr-defined]
    assert os.read(os.open(web_file(tree, "memory.reclaim"), os.O_RDONLY), 99) == b"2097152\n"


def web_file(tree: Path, file: str) -> Path:
    return tree / "cgroup/web" / file


def test_the_dialect_needs_a_state_file(tree: Path) -> None:
    with pytest.raises(UserError, match="stock-pulse needs a state file"):
        LinuxHost(tree / "cgroup", proc_root=tree / "proc", sys_root=tree / "sys", dialect=STOCK_PULSE)
