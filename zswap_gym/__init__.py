"""zswap-gym: learn when to write cold compressed pages from zswap to swap, and how many.

Importing this package imports nothing else: the controller that runs on a real host must not
pull in gymnasium, numba or torch. Where gymnasium is loaded already, the environments' ids are
made known to it; ``import zswap_gym.envs`` does so in any order. (Gymnasium no longer calls the
``gymnasium.envs`` entry points of installed packages since 1.0.)
"""

import sys

__version__ = "0.1.0"

if "gymnasium" in sys.modules:
    import zswap_gym.envs  # noqa: F401 - registers the ids
