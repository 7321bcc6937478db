"""zsmalloc: from compressed length to pool pages (mm/zsmalloc.c:zs_create_pool()).

Objects of a size class share zspages of 1 to 8 pages. The pool's size follows from how many
objects each class holds, as if every class were compacted: the model keeps no partial zspages
beyond one per class; ``room`` is what is left in that one. With page_scale k one simulated page is k objects.
"""

from __future__ import annotations

import numpy as np

from zswap_gym.kernel.jit import inline
from zswap_gym.kernel.layout import ZCLASS

_HANDLE, _MIN, _STEP, _INDICES, _CHAIN = 8, 32, 16, 255, 8


def _shape(size: int) -> tuple[int, int]:
    """(pages, objects) of a zspage of a class, calculate_zspage_chain_size()."""
    if size & (size - 1) == 0:
        return 1, 4096 // size
    pages = min(range(1, _CHAIN + 1), key=lambda p: (4096 * p % size, p))
    return pages, 4096 * pages // size


def size_classes(page_scale: int = 1) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """(ZCLASS records, class of each length 0..4096 as uint8, class sizes largest first).

    119 distinct classes: indices whose zspage has the same shape merge into the larger one.
    """
    records: list[tuple[int, int, int, int, int, int]] = []
    sizes: list[int] = []
    of_index = np.zeros(_INDICES, np.uint8)
    for index in range(_INDICES - 1, -1, -1):
        pages, objects = _shape(_MIN + index * _STEP)
        if not records or records[-1][1:3] != (objects, pages):
            records.append((0, objects, pages, 0, page_scale // objects * pages, page_scale % objects))
            sizes.append(_MIN + index * _STEP)
        of_index[index] = len(records) - 1
    need = np.arange(4097) + _HANDLE
    index_of = np.clip(-(-(need - _MIN) // _STEP), 0, _INDICES - 1)
    return np.array(records, dtype=ZCLASS), of_index[index_of], sizes


@inline
def pool_add(st, length, delta):
    """Add (delta 1) or remove (-1) one simulated page of compressed ``length`` bytes."""
    host = st.host[0]
    cls = st.zclass[st.zclass_of[length]]
    cls.objects += delta * host.scale
    cls.room -= delta * cls.rest
    pages = delta * cls.filled_pages
    one = (cls.room < 0) - (cls.room >= cls.per_zspage)  # zspage more, or less
    cls.room += one * cls.per_zspage
    host.pool_pages += pages + one * cls.zspage_pages
    host.stored_pages += delta * host.scale
