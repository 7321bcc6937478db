"""Mutates the files of kernels and people and reads them: values or the project's own error, nothing else.

    python experiments/robust/mutate.py --count 1000000 --seed 1 --json experiments/robust/findings.json
    python experiments/robust/mutate.py --only kernel:4711 --seed 1        # one case again, with its text

Every case is made from its number alone. A case fails where anything but a UserError is raised, where a
message is not one line, or, for kernel files, where a number was read that its file does not say.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zswap_gym.controller.config import ControllerConfig
from zswap_gym.controller.decider import LawDecider
from zswap_gym.controller.decisions import read_log
from zswap_gym.controller.judge import Judge
from zswap_gym.controller.rails import Limits
from zswap_gym.errors import UserError
from zswap_gym.host.hints import Hints
from zswap_gym.host.reading import (
    EVENT_FIELDS,
    MEMINFO_FIELDS,
    NUMBER_FILES,
    STAT_FIELDS,
    read_machine,
    read_sample,
)
from zswap_gym.host.swaps import swaps
from zswap_gym.workloads.importers import import_text
from zswap_gym.workloads.scenario import load_scenario
from zswap_gym.workloads.traces import load_trace
from zswap_gym.yaml_file import read_yaml

ROOT = Path(__file__).parents[2]
HOST = ROOT / "tests" / "fixtures" / "cgroup" / "6.12-v1"
SHARES = {
    "kernel": 0.83, "swaps": 0.05, "hints": 0.03, "recording": 0.04, "trace": 0.01, "controller": 0.02,
    "log": 0.01, "scenario": 0.01,
}  # fmt: skip
"""Of all cases. Kernel files are what a daemon reads for years; a scenario takes 5 ms."""

Case = Callable[[random.Random], Any]


# --- mutations ------------------------------------------------------------------------------------

JUNK = (
    "", " ", "\t", "\0", "zswap", "zswap 1 2 3", "-1", "nan", "inf", "max", "0x10", "1e3", "1_000", "+5",
    "\u0661", "18446744073709551616", "9" * 400, "some avg10=1.00", "MemTotal: 1 kB", "zswpwb 7", "{", "[]",
    "- a: b", "---", "#", "\xa0", "\u2028", "\r", "%s", "null", "true", "1970-01-01", "*", "&a",
    "!!python/object:os.system x", "0::/", "scan 5", "touch 0 0",
)  # fmt: skip


def _line(rng: random.Random, lines: list[str]) -> int:
    return rng.randrange(len(lines))


def _garbled(rng: random.Random, line: str) -> str:
    at = rng.randrange(len(line) + 1)
    return line[:at] + rng.choice("0123456789 -.:=_kBx\t\0\u0661,{}[]\"'") + line[at + rng.randrange(2) :]


def mutate_lines(rng: random.Random, text: str) -> str:
    """One to three times: insert, drop, blank, widen, garble, repeat, change a number, cut the rest off."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = _line(rng, lines)
        kind = rng.randrange(10)
        if kind == 0:
            lines.insert(at, rng.choice(JUNK))
        elif kind == 1 and len(lines) > 1:
            del lines[at]
        elif kind == 2:
            lines[at] = rng.choice(("", " ", "\t"))
        elif kind == 3:
            lines[at] += rng.choice((" ", "\t", ":")) + rng.choice(JUNK)
        elif kind == 4:
            lines.insert(_line(rng, lines), lines[at])
        elif kind == 5:
            lines.insert(_line(rng, lines), re.sub(r"\d", lambda _: rng.choice("0123456789"), lines[at]))
        elif kind == 6:
            lines[at] = re.sub(r"\d+", lambda _: rng.choice(JUNK), lines[at], count=1)
        elif kind == 7:
            whole = "\n".join(lines)
            lines = whole[: rng.randrange(len(whole) + 1)].split("\n")
        else:
            lines[at] = _garbled(rng, lines[at])
    return "\n".join(lines)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Some bytes changed, a piece left out or put in, or the rest cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, kind = rng.randrange(len(changed) + 1), rng.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del changed[at : at + rng.randrange(64)]
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.randrange(64))
        else:
            del changed[at:]
    return bytes(changed)


# --- kernel files ---------------------------------------------------------------------------------


def _host_files() -> dict[str, str]:
    """The text of every file a Sample is made of, a cgroup's by its name alone."""
    web = {path.name: path.read_text() for path in (HOST / "cgroup" / "web").iterdir() if path.is_file()}
    machine = {}
    for top in ("proc", "sys"):
        for path in (HOST / top).rglob("*"):
            if path.is_file():
                machine["/" + str(path.relative_to(HOST))] = path.read_text()
    return web | machine


class WrongError(Exception):
    """A number was read that the file does not say."""


def _reader(files: Mapping[str, str]) -> Callable[[str], str]:
    def read(file: str) -> str:
        if file not in files:
            raise FileNotFoundError(file)
        return files[file]

    return read


def _said(text: str, key: str, separator: str, scale: int) -> set[float]:
    """What whole lines of a text say of a key: an oracle that shares nothing with the parsers."""
    lines = re.findall(rf"^\s*{re.escape(key)}{separator}\s*(.*)\n", text, re.MULTILINE)
    return {float(int(n)) * scale for line in lines for n in re.findall(r"^(\d{1,20})\b", line, re.ASCII)}


def _check_sample(sample: Any, files: Mapping[str, str], mutated: str) -> None:
    sources = {
        "memory.stat": (STAT_FIELDS, r"\s", 1),
        "memory.events": (EVENT_FIELDS, r"\s", 1),
        "/proc/meminfo": (MEMINFO_FIELDS, r"\s*:", 1024),
    }
    if mutated in sources:
        fields, separator, scale = sources[mutated]
        for field, key in fields.items():
            said = _said(files[mutated], key, separator, scale)
            value = getattr(sample, field)
            # A key that is optional may be gone; every other one is read as some whole line says it.
            if value not in said and not (value == 0 and not said):
                raise WrongError(f"{field} is {value}, the file says {sorted(said)}")
    elif mutated in ONE_VALUE:
        value, text = getattr(sample, ONE_VALUE[mutated]), files[mutated].strip()
        if str(value) != ("inf" if text == "max" else str(float(text))):
            raise WrongError(f"{ONE_VALUE[mutated]} is {value}, the file says {text!r}")
    elif mutated == "memory.pressure":
        for line, field in (("some", "psi_some_avg10"), ("full", "psi_full_avg10")):
            value = getattr(sample, field)
            if not re.search(rf"^\s*{line}\s.*\bavg10={value:.2f}(\s.*)?\n", files[mutated], re.MULTILINE):
                raise WrongError(f"{field} is {value}, the file says {files[mutated]!r}")


def kernel_case(rng: random.Random) -> str:
    """One file of a host, mutated, and the whole Sample read."""
    mutated = rng.choice(KERNEL_FILES)
    files = {**FILES, mutated: mutate_lines(rng, FILES[mutated])}
    try:
        sample = read_sample("web", 1, _reader(files), read_machine(_reader(files)))
    except UserError as error:
        if mutated not in str(error):
            raise WrongError(f"{mutated} was mutated, the message is: {error}") from None
        raise
    _check_sample(sample, files, mutated)
    return mutated


FILES = _host_files()
ONE_VALUE = {file: field for field, file in NUMBER_FILES.items()} | {
    "memory.max": "memory_max", "memory.high": "memory_high", "memory.swap.max": "swap_max",
    "memory.zswap.max": "zswap_max", "memory.zswap.writeback": "zswap_writeback",
}  # fmt: skip
KERNEL_FILES = (
    *["memory.stat"] * 8, *["/proc/meminfo"] * 4, *["memory.events", "memory.pressure"] * 2,
    *sorted(ONE_VALUE),
    "/proc/uptime", "/proc/pressure/memory", "/sys/module/zswap/parameters/max_pool_percent",
)  # fmt: skip
"""Those a Sample is made of; long ones more often."""


def swaps_case(rng: random.Random) -> None:
    """/proc/swaps: nothing rests on it, so it must not raise at all."""
    text = (
        "Filename Type Size Used Priority\n/dev/zram0 partition 8388604 0 100\n/dev/sda2 partition 4 4 -2\n"
    )
    try:
        swaps(_reader({"/proc/swaps": mutate_lines(rng, text), "/sys/block/sda/queue/rotational": "1\n"}))
    except UserError as error:
        raise WrongError(f"refused: {error}") from None


# --- files of people ------------------------------------------------------------------------------

PLAIN = """\
scan 0
alloc 0x7f0000000000 65536
touch 0x7f0000001000 4096
scan 5
touch 0x7f0000002000 8192
free 0x7f0000008000 4096
scan 10.0
size 0x7f0000001000 1800 1820 1300 1280
touch 0x7f0000001000 4096
"""
RECORDINGS = [PLAIN, *(path.read_text() for path in sorted((ROOT / "tests/data/damon").glob("*.txt")))]
HINTS = json.dumps(
    {
        "batch/*": {"at": "2026-11-25T18:00:00", "expected_bytes": "2G"},
        "web": {"seconds_to_event": 300, "seconds_left": 0, "expected_bytes": 67108864},
    },
    indent=1,
)
SCENARIOS = [path.read_text() for path in sorted((ROOT / "configs" / "scenarios").glob("*.yaml"))]
CONTROLLERS = [path.read_text() for path in sorted((ROOT / "configs" / "controller").glob("*.yaml"))]


class Desk:
    """Cases that need a file to read from, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace = self._small_trace()
        self.log = self._small_log()

    def _file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
        return path

    def _small_trace(self) -> bytes:
        from zswap_gym.workloads.recording_file import save_recording

        recorded = import_text(self._file("seed.txt", PLAIN), interval_s=5.0)
        return save_recording(recorded, self.folder / "seed.npz").read_bytes()

    def _small_log(self) -> str:
        judge = Judge(LawDecider("never"), LawDecider("never"), Limits(), 30.0)
        start = {"kind": "start", "decider": {}, "own_cgroup": "x", "config": {}, "state": judge.remember()}
        return "".join(
            json.dumps(record) + "\n" for record in (start, {"kind": "note", "tick": 1, "words": "x"})
        )

    def recording(self, rng: random.Random) -> None:
        """A recording of DAMON, or in the plain format."""
        text = mutate_lines(rng, rng.choice(RECORDINGS))
        import_text(self._file("recording.txt", text), interval_s=5.0, contents="py_service")

    def hints(self, rng: random.Random) -> None:
        """A hints file: what is wrong with it is a note."""
        hints = Hints(self._file("hints.json", mutate_lines(rng, HINTS)))
        hints.refresh()
        hint = hints.hint("web", time.time())
        if not hint.expected_bytes >= 0 or any("\n" in note for note in hints.notes()):
            raise WrongError(str(hint))

    def trace_file(self, rng: random.Random) -> None:
        """A recording as npz, some bytes changed."""
        path = self._file(
            f"trace{rng.random()}.npz", mutate_bytes(rng, self.trace)
        )  # traces are cached by path
        try:
            load_trace(path)
        finally:
            path.unlink()

    def scenario(self, rng: random.Random) -> None:
        """A scenario YAML, drawn once where it is taken."""
        path = self._file("scenario.yaml", mutate_lines(rng, rng.choice(SCENARIOS)))
        load_scenario(path)

    def controller(self, rng: random.Random) -> None:
        """A controller YAML."""
        data = read_yaml(self._file("controller.yaml", mutate_lines(rng, rng.choice(CONTROLLERS))))
        data.pop("host", None)
        ControllerConfig.from_mapping(data, "controller.yaml")

    def decision_log(self, rng: random.Random) -> None:
        """A decision log."""
        list(read_log(self._file("log.jsonl", mutate_lines(rng, self.log))))


# --- counting -------------------------------------------------------------------------------------


def run_case(case: Case, rng: random.Random) -> tuple[str, str]:
    """How a case ended: "value", "error" with its message, or what must not be, with a traceback."""
    try:
        case(rng)
    except UserError as error:
        return ("error", str(error)) if "\n" not in str(error) else ("several lines", str(error))
    except WrongError as error:
        return "wrong", str(error)
    except Exception:  # noqa: BLE001 - this is what is looked for
        return "escaped", traceback.format_exc()
    return "value", ""


def main() -> int:
    """Run the cases, print and write the counts; 1 where a case failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="cases in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the findings")
    parser.add_argument("--only", help="TARGET:NUMBER, one case again")
    args = parser.parse_args()
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        cases: dict[str, Case] = {
            "kernel": kernel_case, "swaps": swaps_case, "hints": desk.hints, "recording": desk.recording,
            "trace": desk.trace_file, "controller": desk.controller, "log": desk.decision_log,
            "scenario": desk.scenario,
        }  # fmt: skip
        if args.only:
            target, _, number = args.only.partition(":")
            print(*run_case(cases[target], random.Random(f"{args.seed}:{target}:{number}")), sep=": ")
            return 0
        findings = {name: count_target(name, case, args) for name, case in cases.items()}
    total = sum(sum(found["ended"].values()) for found in findings.values())
    failed = sum(len(found["failed"]) for found in findings.values())
    print(f"{total} cases, {failed} failed")
    if args.json:
        args.json.write_text(
            json.dumps({"count": total, "seed": args.seed, "targets": findings}, indent=1) + "\n"
        )
    return 1 if failed else 0


def count_target(name: str, case: Case, args: argparse.Namespace) -> dict[str, Any]:
    """All cases of one target."""
    ended: Counter[str] = Counter()
    failed: dict[str, str] = {}
    start = time.monotonic()
    with contextlib.redirect_stderr(io.StringIO()):
        for number in range(round(args.count * SHARES[name])):
            how, words = run_case(case, random.Random(f"{args.seed}:{name}:{number}"))
            ended[how] += 1
            if how not in ("value", "error") and len(failed) < 20:
                failed[f"{name}:{number}"] = f"{how}: {words.strip().splitlines()[-1][:300]}"
    seconds = time.monotonic() - start
    print(f"{name:11s} {dict(ended)} in {seconds:.0f} s", flush=True)
    for number, words in failed.items():
        print(f"    {number} {words}", flush=True)
    return {"ended": dict(ended), "seconds": round(seconds, 1), "failed": failed}


if __name__ == "__main__":
    sys.exit(main())
