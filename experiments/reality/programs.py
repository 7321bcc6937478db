"""The programs of experiments/reality: standard library only, the same ones in the guest and outside.

python programs.py load SOCKET --keys 24000 --name kv    # a redis-server's clients: zipf that drifts
python programs.py service --users 8000 --name service   # orders and sessions, asked by users; reports
python programs.py agent --texts 1500 --name agent       # sleeps, wakes irregularly, reads some of it
python programs.py build --files 16 --name build         # Python's compiler on Python's own library
python programs.py reclaim CGROUP... --rate 131072       # who fills zswap, as a scenario's stage_one

Each fills its memory, says so by a file ``ready-NAME`` in the folder, waits for the file ``go`` there and
lives on until it is killed. What it does in the n-th second from then on follows from n alone, so that
two machines of different speed see the same accesses at the same times; how many seconds it was late at
worst is in ``late-NAME``.
"""

from __future__ import annotations

import argparse
import ast
import bisect
import collections
import itertools
import json
import random
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

WORDS = b"latency throughput cgroup memory writeback pressure resident anonymous compressed device".split()
VALUE = 1024
ZIPF = 0.99
NOISE = random.Random(7).randbytes(1 << 16)
TEXT = b" ".join(random.Random(8).choices(WORDS, k=1 << 13))

GETS = 40
"""Requests a second to a redis; one in twenty writes."""
DRIFT_S, DRIFT_KEYS = 10, 12
"""So often so many of the most popular keys give way to others."""
ASKS = 15
"""Requests a second to the service."""
REPORT_S, REPORTS = 90, 20
"""Every so often the service reads through one of so many parts of its orders."""
BUILD_S = 3
"""The compiler takes a file every so often."""
RESTS_S = (30.0, 150.0)
"""The agent sleeps between these, log-uniform."""
SHRINKER = Path("/sys/module/zswap/parameters/shrinker_enabled")
RECLAIM_S = 2
"""Time between two writes to memory.reclaim."""


PROGRAMS = {
    "kv": ("redis {folder}/kv.sock", "load {folder}/kv.sock --keys 24000 --name kv"),
    "service": ("service --users 8000 --name service",),
    "agent": ("agent --texts 1500 --name agent",),
    "pair": (
        "redis {folder}/pair.sock",
        "load {folder}/pair.sock --keys 10000 --name pair-kv",
        "service --users 3000 --name pair-service",
    ),
    "build": ("build --files 16 --name build",),
}
"""What runs in each cgroup; clients (load) live elsewhere."""
LIMITS = {"build": 28 << 20}
"""memory.max, where there is one."""
REDIS = "redis-server --save '' --port 0 --unixsocket {socket} --dir {folder}"


class Zipf:
    """Ranks 0 to n-1, the first ones most often."""

    def __init__(self, n: int) -> None:
        self._sums = list(itertools.accumulate((rank + 1) ** -ZIPF for rank in range(n)))

    def draw(self, rng: random.Random) -> int:
        """One rank."""
        return bisect.bisect_left(self._sums, rng.random() * self._sums[-1])


def half_noise(key: int, size: int) -> bytes:
    """Half words, half noise, another one for each key."""
    at, half = key * 97, size // 2
    return TEXT[at % 40000 :][:half].ljust(half, b".") + NOISE[at * 31 % 60000 :][:half].ljust(half, b"\1")


def every_second(act: Callable[[int, random.Random], None], folder: Path, name: str) -> None:
    """Wait for ``go``, then do what each second asks for; one that comes late is made up for."""
    (folder / f"ready-{name}").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)
    start, worst = time.monotonic(), 1
    for second in itertools.count():
        early = start + second - time.monotonic()
        time.sleep(max(0.0, early))
        if -early > worst:
            worst = int(-early) + 1
            (folder / f"late-{name}").write_text(f"{worst}\n")
        act(second, random.Random(f"{name} {second}"))


# --- a key-value store ----------------------------------------------------------------------------


class Redis:
    """The few words of RESP that are needed."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        for _ in range(600):
            try:
                self._socket.connect(path)
                break
            except OSError:
                time.sleep(0.1)
        self._file = self._socket.makefile("rb")

    def ask(self, commands: list[tuple[bytes, ...]]) -> None:
        """Send commands together and read their answers."""
        lines = (
            b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
            for words in commands
        )
        self._socket.sendall(b"".join(lines))
        for _ in commands:
            line = self._file.readline()
            if line[:1] == b"$":
                self._file.read(int(line[1:]) + 2)


def load(path: str, keys: int, folder: Path, name: str) -> None:
    """The clients of a redis."""
    redis, zipf = Redis(path), Zipf(keys)
    places = list(range(keys))
    random.Random(5).shuffle(places)
    for first in range(0, keys, 200):
        redis.ask([(b"SET", b"k%d" % key, half_noise(key, VALUE)) for key in range(first, first + 200)])

    def second(n: int, rng: random.Random) -> None:
        commands: list[tuple[bytes, ...]] = []
        for _ in range(GETS):
            key = places[(zipf.draw(rng) + n // DRIFT_S * DRIFT_KEYS) % keys]
            write = rng.random() < 0.05
            commands.append(
                (b"SET", b"k%d" % key, half_noise(key, VALUE)) if write else (b"GET", b"k%d" % key)
            )
        redis.ask(commands)

    every_second(second, folder, name)


# --- a service ------------------------------------------------------------------------------------


def service(users: int, folder: Path, name: str) -> None:
    """Orders in a database in memory, a session per user."""
    tables = sqlite3.connect(":memory:")
    tables.execute("CREATE TABLE orders (part INT, user INT, text BLOB)")
    tables.executemany(
        "INSERT INTO orders VALUES (?, ?, ?)",
        ((n * REPORTS // (5 * users), n % users, half_noise(n, 240)) for n in range(5 * users)),
    )
    tables.execute("CREATE INDEX by_user ON orders (user)")
    sessions = [
        {f"field-{i}": [user, half_noise(user + i, 60).hex()] for i in range(8)} for user in range(users)
    ]
    zipf = Zipf(users)

    def second(n: int, rng: random.Random) -> None:
        for _ in range(ASKS):
            user = zipf.draw(rng) * 7919 % users
            tables.execute("SELECT max(text) FROM orders WHERE user = ?", (user,)).fetchall()
            sessions[user]["field-0"] = [n, json.dumps(sessions[user])[:60]]
        if n % REPORT_S == REPORT_S // 2:
            part = n // REPORT_S % REPORTS
            size = 5 * users // REPORTS
            tables.execute(
                "SELECT sum(length(text)) FROM orders WHERE rowid BETWEEN ? AND ?",
                (part * size, part * size + size),
            ).fetchall()

    every_second(second, folder, name)


# --- an agent -------------------------------------------------------------------------------------


def agent(texts: int, folder: Path, name: str) -> None:
    """What it has read, as lists of words with an index; it is idle for most of the time."""
    read = [[half_noise(n * 50 + i, 120).hex() for i in range(50)] for n in range(texts)]
    index = {text[0]: text for text in read}
    wakes, at, rng = set(), 10.0, random.Random(11)
    while at < 86400:
        wakes.add(int(at))
        at += RESTS_S[0] * (RESTS_S[1] / RESTS_S[0]) ** rng.random()

    def second(n: int, rng: random.Random) -> None:
        if n in wakes:
            first = rng.randrange(texts * 3 // 4)
            for text in read[first : first + texts // 4]:
                "".join(index[text[0]])

    every_second(second, folder, name)


# --- a compiler -----------------------------------------------------------------------------------


def build(files: int, folder: Path, name: str) -> None:
    """Compile one module after the other and keep the trees of the last ``files``."""
    library = Path(json.__file__).parents[1].glob("*.py")
    sources = sorted(path for path in library if 20_000 < path.stat().st_size < 70_000)
    trees: collections.deque[ast.Module] = collections.deque(maxlen=files)

    def compile_one(number: int) -> None:
        path = sources[number % len(sources)]
        trees.append(ast.parse(path.read_bytes()))
        compile(trees[-1], str(path), "exec")

    def second(n: int, _: random.Random) -> None:
        if n % BUILD_S == 0:
            compile_one(files + n // BUILD_S)

    for number in range(files):
        compile_one(number)
    every_second(second, folder, name)


# --- who fills zswap ------------------------------------------------------------------------------


def reclaim(cgroups: list[str], rate: int, folder: Path) -> None:
    """So many bytes a second from each cgroup; not during a pulse, which would write back of them too."""
    files = [Path(cgroup, "memory.reclaim") for cgroup in cgroups]

    def second(n: int, _: random.Random) -> None:
        if n % RECLAIM_S == 0:
            for file in files:
                while SHRINKER.exists() and SHRINKER.read_text()[0] == "Y":
                    time.sleep(0.005)
                try:
                    file.write_text(str(rate * RECLAIM_S))
                except OSError:
                    continue  # EAGAIN: there was less to take

    every_second(second, folder, "reclaim")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("load", "service", "agent", "build", "reclaim"))
    parser.add_argument("where", nargs="*", help="a socket, or cgroups")
    parser.add_argument("--name", default="")
    parser.add_argument("--keys", type=int, default=24000)
    parser.add_argument("--users", type=int, default=8000)
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--rate", type=int, default=131072)
    parser.add_argument("--folder", type=Path, default=Path("/run"))
    args = parser.parse_args()
    if args.what == "load":
        load(args.where[0], args.keys, args.folder, args.name)
    elif args.what == "service":
        service(args.users, args.folder, args.name)
    elif args.what == "agent":
        agent(args.texts, args.folder, args.name)
    elif args.what == "build":
        build(args.files, args.folder, args.name)
    else:
        reclaim(args.where, args.rate, args.folder)


if __name__ == "__main__":
    main()
