"""zswap-gym: learn when to write cold compressed pages from zswap to swap, and how many.

Importing this package imports nothing else: the controller that runs on a real host
must not pull in gymnasium, numba or torch. Environments register themselves through the
``gymnasium.envs`` entry point declared in pyproject.toml.
"""

__version__ = "0.1.0"
