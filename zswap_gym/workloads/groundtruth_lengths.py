"""Compressed length of the ground truth's pages, by compressor and share of random bytes.

A page is 512 words: the first share of them random, the rest one constant. The lengths are those
of 200 such pages put through the compressors' own libraries (zstd level 3, LZO1X-1, LZ4, raw
deflate level 6 with an 11-bit window, as the kernel's crypto modules set them); for zstd at 250,
400 and 500 the means the kernel reported (zswap / zswapped), 0.8 to 1.6 bytes more.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError, nearest

_PERMILLE = tuple(range(0, 1000, 50))
_MEASURED: dict[str, tuple[float, ...]] = {
    "zstd": (
        *(24, 226, 434, 651, 843, 1083.8, 1283, 1475, 1707.8, 1867),
        *(2139.5, 2331, 2515, 2763, 2907, 3155, 3331, 3555, 3819, 3922),
    ),
    "lzo": (
        *(53, 276, 509, 749, 1068, 1365, 1365, 1637, 1901, 2021),
        *(2429, 2580, 2661, 2917, 3198, 3726, 3726, 3726, 4116, 4116),
    ),
    "lz4": (
        *(33, 250, 442, 642, 882, 1074, 1274, 1514, 1714, 1874),
        *(2082, 2282, 2554, 2754, 2938, 3138, 3337, 3546, 3794, 4002),
    ),
    "deflate": (
        *(29, 246, 464, 673, 891, 1103, 1303, 1508, 1709, 1915),
        *(2118, 2321, 2525, 2725, 2930, 3137, 3337, 3543, 3741, 3945),
    ),
}
GOLDEN = 0.6180339887498949
"""Multiples of it spread evenly between whole numbers."""
_MEASURED["lzo-rle"] = _MEASURED["lzo"]
_MEASURED["lz4hc"] = _MEASURED["lz4"]


def compressed_length(
    permille: npt.NDArray[np.int64], compressor: str = "zstd", seed: int = 0
) -> npt.NDArray[np.uint16]:
    """Bytes of a page by its random share; 0 = all-zero page (share -1), 4096 = does not fit.

    Between the measured shares it is interpolated. Means are no whole numbers: pages differ by a byte in
    that proportion, which ones is drawn by ``seed``. UserError on an unknown compressor.
    """
    if compressor not in _MEASURED:
        raise UserError(
            f"boot line: comp={compressor}: no lengths were measured for it"
            f"{nearest(compressor, _MEASURED)}; known: {', '.join(_MEASURED)}"
        )
    known = (*_PERMILLE, 1000)
    size = (*_MEASURED[compressor], 4116.0)
    mean = np.interp(permille, known, size)
    turn = (np.arange(len(permille)) + seed) * GOLDEN % 1.0
    length = np.minimum(np.floor(mean + turn), 4096).astype(np.uint16)
    length[permille < 0] = 0
    return length
