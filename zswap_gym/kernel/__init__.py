"""The simulated kernel: zswap, memcg, MGLRU, a swap device, and the clock that drives them.

Knows Linux; knows no learning, no files on disk, no YAML. One file per mechanism; each opens
with what the kernel does there and where. `machine.Machine` is the way in.
"""
