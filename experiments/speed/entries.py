"""CPU seconds to compile each entry point, one after the other in this process, in an empty cache.

python experiments/speed/entries.py
"""

from __future__ import annotations

import os
import tempfile
import time


def main() -> None:
    """Print them in the order in which they are compiled."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["ZSWAP_GYM_CACHE"] = cache
        import llvmlite.binding as llvm

        import zswap_gym.envs.vector  # noqa: F401 - with it come all entry points
        from zswap_gym.kernel.jit import AHEAD

        anywhere = llvm.address_of_symbol("abort")  # what calls a unit is compiled here and never run
        for made in AHEAD:
            if made.symbol:
                llvm.add_symbol(made.symbol, anywhere)
        for made in sorted(AHEAD, key=lambda made: not made.symbol):
            began = time.process_time()
            made.dispatcher.compile(made.types)
            seconds = time.process_time() - began
            print(f"{seconds:6.2f} {made.name}{' (seldom)' * made.seldom}", flush=True)


if __name__ == "__main__":
    main()
