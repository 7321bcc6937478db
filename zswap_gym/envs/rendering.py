"""Pictures of an episode in plain numpy, and its last step as text.

A frame has one panel per cgroup with time running right. Stacked from below: resident memory
(blue), compressed bytes in zswap (green), pages on disk (grey). Orange ticks under a panel are
requested writebacks, red ticks above it disk reads, both longer the more there were.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zswap_gym.envs.fleet import Fleet
from zswap_gym.envs.reward import psi_pct
from zswap_gym.host.types import COLUMN, Table
from zswap_gym.units import PAGE_SIZE, format_size

WIDTH, HEIGHT = 640, 400
STEPS = 120
"""Steps shown; older ones leave at the left."""

_INK = (40, 44, 52)
_PAPER = (250, 250, 248)
_PANEL = (232, 234, 236)
_RESIDENT = (66, 120, 190)
_ZSWAP = (88, 168, 104)
_DISK = (176, 180, 186)
_WRITTEN = (232, 146, 48)
_READ = (204, 58, 58)

_MARGIN_LEFT, _MARGIN_TOP, _GAP, _TICKS = 4, 14, 3, 6

# A 3 x 5 font: one hexadecimal digit per row, bit 2 leftmost.
_GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757",
    "7": "71122", "8": "75757", "9": "75717", "a": "25755", "b": "65656", "c": "34443", "d": "65556",
    "e": "74647", "f": "74644", "g": "34553", "h": "55755", "i": "72227", "j": "11156", "k": "55655",
    "l": "44447", "m": "57755", "n": "65555", "o": "25552", "p": "65644", "q": "25563", "r": "65655",
    "s": "34216", "t": "72222", "u": "55557", "v": "55552", "w": "55775", "x": "55255", "y": "55222",
    "z": "71247", ".": "00002", "-": "00700", "_": "00007", "/": "11244", ":": "02020", "%": "51245",
    "+": "02720",
}  # fmt: skip


class StepView(NamedTuple):
    """What one step shows, arrays of shape (N cgroups,) in bytes, pages and percent."""

    resident: npt.NDArray[np.float64]
    """Bytes charged without zswap's."""
    zswap: npt.NDArray[np.float64]
    """Compressed bytes."""
    disk: npt.NDArray[np.float64]
    """Bytes whose only copy is on the swap device."""
    asked: npt.NDArray[np.float64]
    """Bytes of writeback requested by this step's decision."""
    age: npt.NDArray[np.float64]
    """Their minimum age in seconds, nan where none was requested."""
    written: npt.NDArray[np.float64]
    """Bytes written back."""
    disk_reads: npt.NDArray[np.float64]
    """Pages read back from disk."""
    psi: npt.NDArray[np.float64]
    """Share of the interval in which some thread stalled, percent."""


def step_view(
    fleet: Fleet, e: int, before: Table, asked: npt.NDArray[np.float64], age: npt.NDArray[np.float64]
) -> StepView:
    """What the last step of host ``e`` shows, with its table ``before`` and its decision (N,)."""
    after = fleet.tables[e]

    def column(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(after[:, COLUMN[name]])

    zswap = column("zswap")
    written = column("zswpwb") - before[:, COLUMN["zswpwb"]]
    return StepView(
        resident=column("memory_current") - zswap,
        zswap=zswap,
        disk=np.maximum(column("swap_current") - column("zswapped") - column("swapcached"), 0.0),
        asked=asked,
        age=age,
        written=written * PAGE_SIZE,
        disk_reads=fleet.step_account.reads[e],
        psi=psi_pct(fleet.step_account)[e],
    )


@dataclass
class History:
    """The steps of the episode so far, as many as a frame shows."""

    names: list[str]
    interval_s: float
    steps: deque[StepView]
    rewards: deque[float]

    @classmethod
    def start(cls, names: list[str], interval_s: float) -> History:
        """An empty history for cgroups ``names``."""
        return cls(names, interval_s, deque(maxlen=STEPS), deque(maxlen=STEPS))

    def add(self, step: StepView, reward: float) -> None:
        """Append one step."""
        self.steps.append(step)
        self.rewards.append(reward)


def render_ansi(history: History, title: str) -> str:
    """The last step as a table."""
    lines = [title]
    head = (
        f"{'cgroup':<16}{'resident':>11}{'zswap':>11}{'disk':>11}{'age >=':>9}"
        f"{'asked':>11}{'written':>11}{'reads':>7}{'psi %':>8}"
    )
    lines.append(head)
    if not history.steps:
        lines.extend(history.names)
        return "\n".join(lines) + "\n"
    step = history.steps[-1]
    for i, name in enumerate(history.names):
        age = "-" if np.isnan(step.age[i]) else f"{step.age[i]:.0f} s"
        lines.append(
            f"{name[:15]:<16}{format_size(step.resident[i]):>11}{format_size(step.zswap[i]):>11}"
            f"{format_size(step.disk[i]):>11}{age:>9}{format_size(step.asked[i]):>11}"
            f"{format_size(step.written[i]):>11}{step.disk_reads[i]:>7.0f}{step.psi[i]:>8.2f}"
        )
    lines.append(f"reward {history.rewards[-1]:.6f} GiB*h")
    return "\n".join(lines) + "\n"


def render_rgb(history: History, title: str) -> npt.NDArray[np.uint8]:
    """The episode so far as an image, uint8 (HEIGHT, WIDTH, 3)."""
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[:] = _PAPER
    _text(image, 4, 4, title)
    n = max(len(history.names), 1)
    height = max((HEIGHT - _MARGIN_TOP) // n - _GAP, 8)
    stack = _stacked(history)
    top = max(float(stack.sum(axis=1).max()), 1.0) if history.steps else 1.0
    for i, name in enumerate(history.names):
        y = _MARGIN_TOP + i * (height + _GAP)
        if y + height > HEIGHT:
            break
        _panel(image, y, height, history, i, stack, top)
        _text(image, y + 2, _MARGIN_LEFT + 2, name[:40])
    return image


def _stacked(history: History) -> npt.NDArray[np.float64]:
    """(steps, 3, N): what is stacked in the panels."""
    if not history.steps:
        return np.zeros((0, 3, len(history.names)))
    return np.stack([np.stack([s.resident, s.zswap, s.disk]) for s in history.steps])


def _panel(
    image: npt.NDArray[np.uint8],
    y: int,
    height: int,
    history: History,
    i: int,
    stack: npt.NDArray[np.float64],
    top: float,
) -> None:
    """Draw cgroup i in rows [y, y + height)."""
    ticks = min(_TICKS, height // 4)
    upper, lower = y + ticks, y + height - ticks
    left = _MARGIN_LEFT
    step_px = (WIDTH - 2 * _MARGIN_LEFT) // STEPS
    image[upper:lower, left : left + step_px * STEPS] = _PANEL
    for k, step in enumerate(history.steps):
        x = slice(left + k * step_px, left + (k + 1) * step_px)
        edge = lower
        for value, colour in zip(stack[k, :, i], (_RESIDENT, _ZSWAP, _DISK), strict=True):
            size = round(value / top * (lower - upper))
            image[max(edge - size, upper) : edge, x] = colour
            edge = max(edge - size, upper)
        image[lower : lower + _tick(step.written[i] / 4096, ticks), x] = _WRITTEN
        image[upper - _tick(step.disk_reads[i], ticks) : upper, x] = _READ


def _tick(pages: float, longest: int) -> int:
    """Length of a tick for a number of pages: one pixel per factor of ten or so."""
    return 0 if pages < 1 else min(longest, 1 + int(np.log10(pages) * 1.5))


def _text(image: npt.NDArray[np.uint8], y: int, x: int, text: str) -> None:
    """Write ``text`` at row y, column x; characters without a glyph are blanks."""
    for char in text.lower():
        for row, digit in enumerate(_GLYPHS.get(char, "00000")):
            for column in range(3):
                if int(digit, 16) >> (2 - column) & 1 and x + column < WIDTH:
                    image[y + row, x + column] = _INK
        x += 4
