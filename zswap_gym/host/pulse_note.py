"""What a pulse has changed and must be put back, written down before it is changed.

The note lies beside the controller's state file. The daemon reads it at its start; a service manager
runs ``zswap-gym restore STATE`` when the daemon has ended, whatever ended it. For the moment in
between there is the guard: a shell that waits at the end of a pipe and puts the knob back as soon as
the daemon lets go of it without a word.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from zswap_gym.errors import UserError
from zswap_gym.host.cgroup_files import write_file

ON, OFF = "Y", "N"


@dataclass(frozen=True)
class Note:
    """Files changed for a pulse and what they held."""

    boot_id: str
    knob: str
    """The path of shrinker_enabled; it held N."""
    swap_max_file: str = ""
    """The cgroup's memory.swap.max, where it was lowered; else empty."""
    swap_max: str = ""


def note_path(state: Path | str) -> Path:
    """Where the note of a state file lies."""
    path = Path(state)
    return path.with_name(f"{path.name}.pulse")


def write_note(path: Path, note: Note) -> None:
    """On the disk before it returns. OSError: it cannot be written, and nothing may be changed."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(asdict(note), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def put_back(note: Note) -> list[str]:
    """Put everything back; what could not be, in words. A cgroup that is gone needs nothing."""
    troubles = []
    code = write_file(None, note.knob, OFF)
    if code:
        troubles.append(f"{note.knob}: {os.strerror(code).lower()}; echo N > it by hand")
    if note.swap_max_file and Path(note.swap_max_file).exists():
        code = write_file(None, note.swap_max_file, note.swap_max)
        if code:
            troubles.append(f"{note.swap_max_file}: {os.strerror(code).lower()}; it held {note.swap_max}")
    return troubles


def restore(state: Path | str, boot_id: str) -> str | None:
    """Put back what a pulse left behind; None where there is nothing to do, else what was done.

    A note of another boot is only thrown away: the kernel began with its own values since.

    Raises:
        UserError: the note cannot be read, or something could not be put back. It stays then.
    """
    path = note_path(state)
    try:
        note = Note(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: not a pulse's note ({error}); echo N > /sys/module/zswap/parameters/shrinker_enabled "
            "where the shrinker is not meant to be on, and remove the file"
        ) from error
    if note.boot_id != boot_id:
        path.unlink(missing_ok=True)
        return "a pulse was under way when the machine went down; nothing of it is left"
    troubles = put_back(note)
    if troubles:
        raise UserError(f"a pulse was cut off and cannot be undone: {'; '.join(troubles)}")
    path.unlink(missing_ok=True)
    return f"a pulse was cut off: {note.knob} is N again"


# sh, because it starts in a millisecond; TERM and INT are for the daemon, which ends its pulse first.
_GUARD = """trap '' TERM INT HUP
read -r word
[ "$word" = done ] && exit
echo N > "$1"
[ -z "$2" ] || echo "$3" > "$2"
"""


class Guard:
    """A process that puts back what the note says as soon as this one is gone.

    Raises:
        OSError: no shell can be started.
    """

    def __init__(self, note: Note) -> None:
        self._shell = subprocess.Popen(  # noqa: S603 - our own words, our own paths
            ["/bin/sh", "-c", _GUARD, "zswap-gym-guard", note.knob, note.swap_max_file, note.swap_max],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def let_go(self) -> None:
        """For a forked child: the guard watches the parent alone."""
        assert self._shell.stdin is not None
        os.close(self._shell.stdin.fileno())

    def dismiss(self) -> None:
        """All is put back already."""
        with contextlib.suppress(OSError):  # it died before us: then there is nobody to tell
            self._shell.communicate(b"done\n")
