"""``python -m zswap_gym.cli``: the same as ``zswap-gym``."""

import sys

from zswap_gym.cli.main import main

sys.exit(main())
