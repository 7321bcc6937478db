"""Gymnasium environments. Importing this package makes their ids known; the classes load at make()."""

from zswap_gym.envs.registration import register

register()
