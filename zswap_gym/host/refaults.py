"""Pages that a cgroup read back from the swap device: the one place that says how they are counted.

From 6.13 on memory.stat counts them: ``pswpin``, pages that a read of the device brought in; neither
loads from zswap nor pages of zeros, which need no device, nor faults on files are in it.

Before that they are what of the anonymous refaults nothing else explains:

    workingset_refault_anon - zswpwb - zswpin - swpin_zero

for the kernel counts a refault whenever a page comes into the swap cache that it had put out: from the
device, from zswap, as zeros, and also when it decompresses a page in order to write it back. Measured
against /proc/vmstat pswpin: see experiments/pulse. Without those keys (before 5.9) it is
``pgmajfault - zswpin``, which counts faults on files too.

With readahead (page-cluster > 0) both count pages read ahead as well: they are disk reads.
"""

from __future__ import annotations

from collections.abc import Mapping

KEYS = ("pswpin", "workingset_refault_anon", "zswpwb", "zswpin", "swpin_zero", "pgmajfault")
"""Of memory.stat."""


def disk_reads(stat: Mapping[str, int]) -> int:
    """Pages read from the swap device so far, from memory.stat; never below 0."""
    if "pswpin" in stat:
        return stat["pswpin"]
    if "workingset_refault_anon" not in stat:
        return max(stat.get("pgmajfault", 0) - stat.get("zswpin", 0), 0)
    other = sum(stat.get(key, 0) for key in ("zswpwb", "zswpin", "swpin_zero"))
    return max(stat["workingset_refault_anon"] - other, 0)
