"""A program with an exactly known access pattern: prints the address and pages of its buffer, then works on.

Of n pages: [0, n/8) are read, [n/8, n/4) written, every seventh of [3n/8, 5n/8) read, 20 times a second; the
rest was written once at the start and is idle. Then it prints a checksum of what should never change.
"""

from __future__ import annotations

import mmap
import sys
import time

import numpy as np

pages = int(sys.argv[1])
buffer = mmap.mmap(-1, pages * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
buffer.madvise(mmap.MADV_NOHUGEPAGE)
memory = np.frombuffer(buffer, np.uint8).reshape(pages, 4096)
random = np.random.default_rng(1)
for start in range(0, pages, 256):
    memory[start : start + 256, ::8] = random.integers(
        0, 256, memory[start : start + 256, ::8].shape, np.uint8
    )
eighth = pages // 8
print(f"{memory.ctypes.data:x}", flush=True)
total = 0
while True:
    total += int(memory[:eighth, 64].sum())
    memory[eighth : 2 * eighth, 128] = total & 255
    total += int(memory[3 * eighth : 5 * eighth : 7, 256].sum())
    time.sleep(0.05)
