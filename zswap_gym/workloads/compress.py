"""How many bytes a page compresses to: drawn together with how often it is touched.

Hot and cold pages of a program do not compress alike (lzo means differ by up to 2.7x in either
direction), so a page's size depends on its class. A page draws one rank u, and every compressor
reads its own quantile table at that u: real sizes under lzo, lz4 and zstd have rank correlation
0.7 to 0.98.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zswap_gym.errors import UserError, nearest
from zswap_gym.kernel.spec import COMPRESSORS
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.traces import COMP_COLUMNS, DATA, KIND_OTHER, KIND_SAME, KIND_ZERO, Trace

if TYPE_CHECKING:
    from collections.abc import Mapping

CLASSES = 3
"""traces.CLASS_NEVER, CLASS_MIDDLE, CLASS_HOT."""

ZERO_BYTES = 0
"""clen of an all-zero page: the swap zeromap keeps it out of zswap."""
SAME_BYTES = {"lzo": 53, "lz4": 33, "zstd": 25}
"""A page of one repeated word, measured with liblzo2 2.10, liblz4 1.9.4 and libzstd 1.5.4. Since
6.12 zswap no longer special-cases it (mm/zswap.c:zswap_store())."""
COLUMN_OF = {"lzo": "lzo", "lz4": "lz4", "zstd": "zstd3"}
"""Kernel compressor -> measured column; the kernel's zstd runs at level 3."""

QUANTILES = np.array([0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100]) / 100
MIN_SAMPLES = 40
"""A class with fewer measured pages uses the sizes of all pages."""


@dataclass(frozen=True, eq=False)
class SizeModel:
    """Distribution of compressed sizes of one program.

    Attributes:
        sizes: compressor -> (q,) bytes at the QUANTILES over all pages that are not zero or same.
        rank: (3, q), the ranks u in [0, 1] at the QUANTILES, per page class: where in ``sizes``
            pages of that class lie.
        zero, same: (3,) share of all-zero and same-filled pages, per class.
    """

    sizes: Mapping[str, npt.NDArray[np.float64]]
    rank: npt.NDArray[np.float64]
    zero: npt.NDArray[np.float64]
    same: npt.NDArray[np.float64]


def check_compressor(name: str) -> str:
    """The name, if the simulated kernel has it. Raises :class:`UserError` naming the nearest."""
    if name not in COMPRESSORS:
        raise UserError(
            f"compressor {name!r}: not modelled{nearest(name, COMPRESSORS)}; "
            f"use one of {', '.join(COMPRESSORS)}"
        )
    return name


def fit_sizes(trace: Trace) -> SizeModel:
    """The size model of a recording: its measured pages, split by their class."""
    kind, size = trace.measured_kind, trace.measured_size.astype(np.float64)
    classes = np.full(len(kind), CLASSES, np.int64)  # pages outside the recording have no class
    inside = trace.measured_page >= 0
    classes[inside] = trace.page_class()[trace.measured_page[inside]]
    other = kind == KIND_OTHER
    if not other.any():
        raise UserError(
            f"trace {trace.name!r}: no page with a measured size; record it again with sampling on"
        )
    sizes = {
        name: np.quantile(size[other, COMP_COLUMNS.index(column)], QUANTILES)
        for name, column in COLUMN_OF.items()
    }
    order = np.argsort(size[other, 0], kind="stable")  # by lzo
    u = np.empty(len(order))
    u[order] = (np.arange(len(order)) + 0.5) / len(order)
    rank = np.tile(QUANTILES, (CLASSES, 1))
    zero, same = np.full(CLASSES, (kind == KIND_ZERO).mean()), np.full(CLASSES, (kind == KIND_SAME).mean())
    for c in range(CLASSES):
        mine = classes == c
        if mine.sum() < MIN_SAMPLES or (mine & other).sum() < MIN_SAMPLES // 2:
            continue
        rank[c] = np.quantile(u[classes[other] == c], QUANTILES)
        zero[c], same[c] = (kind[mine] == KIND_ZERO).mean(), (kind[mine] == KIND_SAME).mean()
    return SizeModel(sizes, rank, zero, same)


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads((DATA / "archetypes.json").read_text())
    return tables


@lru_cache(maxsize=1)
def _ranks() -> dict[str, Any]:
    ranks: dict[str, Any] = json.loads((DATA / "size_classes.json").read_text())
    return ranks


@lru_cache(maxsize=16)
def archetype_sizes(name: str) -> SizeModel:
    """The size model of an archetype: marginals of archetypes.json, ranks of size_classes.json.

    Raises:
        UserError: no such archetype.
    """
    if name not in _tables():
        raise UserError(
            f"archetype {name!r}: not known{nearest(name, _tables())}; "
            f"use one of {', '.join(sorted(_tables()))}"
        )
    comp, ranks = _tables()[name]["comp"], _ranks()[name]
    return SizeModel(
        {kernel: np.array(comp[column], np.float64) for kernel, column in COLUMN_OF.items()},
        *(np.array(ranks[key], np.float64) for key in ("rank", "zero", "same")),
    )


def draw_sizes(
    model: SizeModel,
    page_class: npt.NDArray[np.uint8],
    rng: np.random.Generator,
    compressor: str,
    *,
    zero_never: float | None = None,
    whole_program: bool = False,
) -> npt.NDArray[np.uint16]:
    """uint16 (n,) compressed bytes; 0 = all zero, 4096 = does not compress.

    The same generator state gives the same ranks under every compressor.

    Args:
        model: whose sizes.
        page_class: (n,) traces.CLASS_* of each page.
        rng: draws two uniforms a page.
        compressor: lzo, lz4 or zstd.
        zero_never: share of zero pages among the never touched ones, if not the model's: the
            recordings have 0-5 % where production zswap sees 10-20 %.
        whole_program: the pages are all of a program's, so together they have the model's sizes, whatever
            share of them each class has; a class keeps its place among the others.
    """
    check_compressor(compressor)
    kind, place = rng.random(len(page_class)), rng.random(len(page_class))
    zero = model.zero.copy()
    if zero_never is not None:
        zero[0] = zero_never
    u = np.empty(len(page_class))
    for c in range(CLASSES):
        mine = page_class == c
        u[mine] = np.interp(place[mine], QUANTILES, model.rank[c])
    plain = kind >= (zero + model.same)[page_class]
    if whole_program:
        order = np.flatnonzero(plain)[np.argsort(u[plain], kind="stable")]
        u[order] = (np.arange(len(order)) + 0.5) / max(len(order), 1)
    size = np.interp(u, QUANTILES, model.sizes[compressor])
    size = np.clip(np.round(size), 1, PAGE_SIZE)
    size[~plain] = SAME_BYTES[compressor]
    size[kind < zero[page_class]] = ZERO_BYTES
    return size.astype(np.uint16)


def trace_sizes(
    trace: Trace, pages: npt.NDArray[np.int64], rng: np.random.Generator, compressor: str
) -> npt.NDArray[np.uint16]:
    """uint16 (len(pages),) compressed bytes of some pages of a recording.

    A page that was measured keeps its size; the others draw theirs by class.
    """
    size = draw_sizes(_trace_model(trace), trace.page_class()[pages], rng, compressor)
    inside = trace.measured_page >= 0
    measured = np.full(trace.n_pages, -1, np.int64)
    measured[trace.measured_page[inside]] = np.flatnonzero(inside)
    row = measured[pages]
    have = row >= 0
    exact = trace.measured_size[row[have], COMP_COLUMNS.index(COLUMN_OF[compressor])].astype(np.int64)
    exact[trace.measured_kind[row[have]] == KIND_SAME] = SAME_BYTES[compressor]
    exact[trace.measured_kind[row[have]] == KIND_ZERO] = ZERO_BYTES
    size[have] = exact
    return size


@lru_cache(maxsize=16)
def _trace_model(trace: Trace) -> SizeModel:
    """Traces hash by identity and are cached themselves."""
    return fit_sizes(trace)
