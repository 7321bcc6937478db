"""A live redis-server under load: recorded, advised, simulated, unharmed. See README.md.

    python experiments/recorder/redis_session.py [--out FOLDER] [--duration 180] [--method auto]

Needs root and the Debian package redis-server. The server listens on a free local port; keys are 1 KiB,
half compressible, chosen by a zipf law; every key is compared with what was written at the end.
"""

from __future__ import annotations

import argparse
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

KEYS, VALUE, RATE, ZIPF = 60_000, 1024, 1500, 0.99
WORDS = b"latency throughput cgroup memory writeback pressure resident anonymous compressed device".split()


class Redis:
    """The few words of RESP that are needed."""

    def __init__(self, port: int) -> None:
        for _ in range(100):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.1)
        self.file = self.socket.makefile("rb")

    def ask(self, commands: list[tuple[bytes, ...]]) -> list[bytes | None]:
        """Send commands together; their answers."""
        self.socket.sendall(
            b"".join(
                b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
                for words in commands
            )
        )
        return [self._answer() for _ in commands]

    def _answer(self) -> bytes | None:
        line = self.file.readline()
        if line[:1] != b"$":
            return line
        size = int(line[1:])
        return None if size < 0 else self.file.read(size + 2)[:-2]


def value(key: int) -> bytes:
    """Half words, half noise."""
    rng = random.Random(key)
    text = b" ".join(rng.choice(WORDS) for _ in range(VALUE // 16))[: VALUE // 2]
    return text.ljust(VALUE // 2, b".") + rng.randbytes(VALUE - VALUE // 2)


def load(port: int, stop: threading.Event, done: list[int]) -> None:
    """Zipf reads and a few writes of the same values, about RATE a second."""
    redis, rng = Redis(port), np.random.default_rng(1)
    weight = np.cumsum(1.0 / np.arange(1, KEYS + 1) ** ZIPF)
    place = np.random.default_rng(7).permutation(KEYS)
    batch = 50
    while not stop.is_set():
        begun = time.monotonic()
        keys = place[np.searchsorted(weight, rng.random(batch) * weight[-1])]
        redis.ask(
            [
                (b"SET", b"k%d" % k, value(int(k))) if rng.random() < 0.05 else (b"GET", b"k%d" % k)
                for k in keys
            ]
        )
        done[0] += batch
        time.sleep(max(0.0, batch / RATE - (time.monotonic() - begun)))


def command(*words: str) -> None:
    """Run zswap-gym, showing what is run."""
    print("\n$ zswap-gym " + " ".join(words), flush=True)
    subprocess.run([sys.executable, "-m", "zswap_gym.cli", *words], check=True)  # noqa: S603


def maps(pid: int) -> int:
    """Mappings of a process."""
    return len(Path(f"/proc/{pid}/maps").read_text().splitlines())


def main() -> None:
    """The whole session."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("redis-session"))
    parser.add_argument("--duration", default="180s")
    parser.add_argument("--method", default="auto")
    args = parser.parse_args()
    server = shutil.which("redis-server")
    if server is None:
        sys.exit("redis-server is not installed: apt-get install redis-server")
    args.out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        redis = subprocess.Popen(  # noqa: S603
            [server, "--port", str(port), "--save", "", "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip
        try:
            session(redis.pid, port, args)
        finally:
            redis.terminate()
            redis.wait()


def session(pid: int, port: int, args: argparse.Namespace) -> None:
    """Fill, load, record, compare; then advise and simulate."""
    talk = Redis(port)
    for first in range(0, KEYS, 500):
        talk.ask([(b"SET", b"k%d" % k, value(k)) for k in range(first, first + 500)])
    stop, done = threading.Event(), [0]
    worker = threading.Thread(target=load, args=(port, stop, done))
    worker.start()
    time.sleep(5)
    before, plain = maps(pid), done[0] / 5
    begun, at = time.monotonic(), done[0]
    trace, scenario = str(args.out / "redis.npz"), str(args.out / "redis.yaml")
    command("record", str(pid), "--probe")
    command("record", str(pid), "--interval", "3s", "--duration", args.duration, "--method", args.method,
            "-o", trace)  # fmt: skip
    while_recorded = (done[0] - at) / (time.monotonic() - begun)
    stop.set()
    worker.join()
    lost = 0
    for first in range(0, KEYS, 500):
        answers = talk.ask([(b"GET", b"k%d" % k) for k in range(first, first + 500)])
        lost += sum(a != value(k) for k, a in zip(range(first, first + 500), answers, strict=True))
    print(f"\nkeys that changed: {lost} of {KEYS}; mappings {before} before, {maps(pid)} after", flush=True)
    print(f"requests a second: {plain:.0f} before, {while_recorded:.0f} while recorded", flush=True)
    command(
        "advise",
        trace,
        "--promise",
        "disk_reads_pct_min=2",
        "--save-scenario",
        scenario,
        "--json",
        str(args.out / "advice.json"),
    )
    command("evaluate", "--scenario", scenario, "--laws", "never,release_only,fixed_age,aimd", "--seeds", "3")
    if lost:
        sys.exit(1)


if __name__ == "__main__":
    main()
