"""What experiments measure in the guest, besides what the tests check."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from checks import _host, _one, fill
from counters import CGROUPS, KNOB, keyed, knob, reclaim, stat, vmstat, write
from hogs import make_cgroup, remove

SIZES = (128, 256, 512, 1024)


def file_cache(cgroup: str, mib: int) -> int:
    """Read so much of a disk inside the cgroup; its file cache afterwards, pages."""
    write("/proc/sys/vm/drop_caches", "1")  # else it is charged to whoever read it before
    pid = os.fork()
    if pid == 0:
        (CGROUPS / cgroup / "cgroup.procs").write_text(str(os.getpid()))
        with Path("/dev/vda").open("rb") as disk:
            disk.seek(200 << 20)
            for _ in range(mib):
                disk.read(1 << 20)
        os._exit(0)
    os.waitpid(pid, 0)
    return stat(cgroup, "file") // 4096


def spared(ask: str, mib: int = 16, protect: str = "", goal: int = 1024) -> dict[str, Any]:
    """A pulse by hand on a cgroup with file cache: what it wrote, what of the cache it took.

    ``ask`` is what memory.reclaim gets; ``protect`` a file of the cgroup that is set to its size meanwhile.
    """
    cgroup = "t/a"
    fill(cgroup, 3, resident=2048)
    cache = file_cache(cgroup, mib)
    before = {key: stat(cgroup, key) for key in ("zswpwb", "zswpout", "anon")}
    folder = CGROUPS / cgroup
    if protect:
        write(folder / protect, "max")
    KNOB.write_text("Y")
    start = time.monotonic()
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(reclaim(cgroup, ask)))
    thread.start()
    until = time.monotonic() + 20
    while thread.is_alive() and time.monotonic() < until:
        if vmstat("zswpwb") - before["zswpwb"] >= goal - 128 and stat(cgroup, "zswpwb") > before["zswpwb"]:
            break
    KNOB.write_text("N")
    thread.join()
    if protect:
        write(folder / protect, "0")
    return {
        "ask": ask, "protect": protect, "errno": codes[0], "knob": knob(),
        "written": stat(cgroup, "zswpwb") - before["zswpwb"],
        "stored": stat(cgroup, "zswpout") - before["zswpout"],
        "anon_taken": (before["anon"] - stat(cgroup, "anon")) // 4096,
        "cache": cache, "cache_taken": cache - stat(cgroup, "file") // 4096,
        "ms": round((time.monotonic() - start) * 1e3),
    }  # fmt: skip


def redis_reads(seconds: float = 60.0) -> dict[str, Any]:
    """A redis that is reclaimed and written back under load: disk reads by each way of counting."""
    from zswap_gym.host.files import parse_keyed
    from zswap_gym.host.refaults import KEYS, disk_reads

    cgroup = "t/kv"
    make_cgroup(cgroup)
    enter = f"echo 0 > {CGROUPS}/{cgroup}/cgroup.procs; cd /run; exec redis-server --save ''"
    run = f"{enter} --port 0 --unixsocket /run/redis.sock --dir /run > /run/redis.log 2>&1"
    server = subprocess.Popen(["/bin/sh", "-c", run])
    time.sleep(4)
    bench = "redis-benchmark -s /run/redis.sock -q -t {} -n {} -r 60000 -d 1000 -P 16"
    subprocess.run(bench.format("set", 60000).split(), capture_output=True, timeout=280, check=False)
    file = CGROUPS / cgroup / "memory.stat"

    def counts() -> dict[str, int]:
        raw = keyed(file)
        return {
            "truth": vmstat("pswpin"),
            "estimate": disk_reads({k: v for k, v in raw.items() if k != "pswpin"}),
            "told": disk_reads(parse_keyed(file.read_text(), "memory.stat", KEYS)),
            "majfault - zswpin": raw["pgmajfault"] - raw["zswpin"], "zswpwb": raw["zswpwb"],
            "swpin_zero": raw.get("swpin_zero", 0), "zswpin": raw["zswpin"],
            "file refaults": raw["workingset_refault_file"],
        }  # fmt: skip

    start = counts()
    until = time.monotonic() + seconds
    host = _host([cgroup])
    while time.monotonic() < until:
        reclaim(cgroup, "16M")
        host.sample()
        _one(host, cgroup, 1024, 1024)
        subprocess.run(bench.format("get", 4000).split(), capture_output=True, timeout=100, check=False)
    end = counts()
    server.kill()
    server.wait()
    remove(cgroup)
    return {key: end[key] - start[key] for key in end}
