"""Makes the environment ids known to Gymnasium, once, however often it is asked.

Importing ``zswap_gym`` calls :func:`register`, at once or as soon as gymnasium is imported too, and so
does ``gymnasium.make`` of an id with its module, ``zswap_gym:zswap_gym/Writeback-v0``. Nothing heavy
may happen here: the classes load at the first ``gymnasium.make``.
"""

from __future__ import annotations

ENTRY_POINTS = {
    "zswap_gym/Writeback-v0": (
        "zswap_gym.envs.writeback:WritebackEnv",
        "zswap_gym.envs.vector:WritebackVectorEnv",
    ),
    "zswap_gym/Writeback-Privileged-v0": (
        "zswap_gym.envs.privileged:PrivilegedWritebackEnv",
        "zswap_gym.envs.vector:PrivilegedWritebackVectorEnv",
    ),
}
"""Id -> where the classes live: of one environment, and of many."""


def register() -> None:
    """Register every id that is not registered yet."""
    # Not `import gymnasium`: a Gymnasium that calls entry points does so while it is being imported.
    from gymnasium.envs.registration import register as register_one
    from gymnasium.envs.registration import registry

    for env_id, (one, many) in ENTRY_POINTS.items():
        if env_id not in registry:
            register_one(id=env_id, entry_point=one, vector_entry_point=many)
