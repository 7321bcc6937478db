"""zswap-gym: learn when to write cold compressed pages from zswap to swap, and how many.

Importing this package imports nothing else: the controller that runs on a real host must not
pull in gymnasium, numba or torch. The environments' ids are made known to Gymnasium where it is
loaded, before this package or after it. (Gymnasium no longer calls the ``gymnasium.envs`` entry
points of installed packages since 1.0.)
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

__version__ = "0.1.0"


class _WhenGymnasiumComes:
    """Stands among the importers until somebody imports gymnasium, and lets ``zswap_gym.envs`` follow it."""

    _asking = False

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        if name != "gymnasium" or self._asking:
            return None
        self._asking = True  # the others, not this one again
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                sys.meta_path.remove(self)
                load(module)
                import zswap_gym.envs  # noqa: F401 - registers the ids

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if not (Path(__file__).parent / "envs").is_dir():
    pass  # zswap-gym-host has no environments
elif "gymnasium" in sys.modules:
    import zswap_gym.envs  # noqa: F401 - registers the ids
else:
    sys.meta_path.insert(0, _WhenGymnasiumComes())
