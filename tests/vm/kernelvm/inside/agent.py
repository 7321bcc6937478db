"""Process 1 of the guest: takes calls from a virtio port and answers each with one line of JSON.

A call is ``{"call": FUNCTION, "with": {...}}``, a function of :mod:`checks` or
:mod:`measures`, or ``exit``.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

PORT = "/dev/vport0p1"
HANGS_S = 100.0
"""A call that takes longer says on the console where it is."""


def answer(call: dict[str, object], modules: tuple[object, ...]) -> dict[str, object]:
    """What a call returned, or how it failed."""
    name = str(call["call"])
    try:
        function = next(getattr(module, name) for module in modules if hasattr(module, name))
        return {"value": function(**call["with"])}  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - whatever it is, the test that called shows it
        return {"error": traceback.format_exc()}


def main() -> None:
    """Serve until told to exit; then the machine is switched off."""
    import checks
    import measures

    port = next(path for path in (PORT, *map(str, Path("/dev").glob("vport*"))) if Path(path).exists())
    with Path(port).open("r+b", buffering=0) as file, Path("/dev/console").open("wb") as console:
        file.write(b'{"ready": true}\n')
        rest = b""
        while True:
            got = file.read(65536)
            if not got:
                continue
            *lines, rest = (rest + got).split(b"\n")
            for line in lines:
                call = json.loads(line)
                faulthandler.dump_traceback_later(HANGS_S, exit=False, file=console)
                if call["call"] == "exit":
                    os.sync()
                    Path("/proc/sysrq-trigger").write_text("o" if call["with"].get("off", True) else "b")
                told = json.dumps(answer(call, (checks, measures))).encode() + b"\n"
                faulthandler.cancel_dump_traceback_later()
                while told:
                    told = told[file.write(told) or 0 :]


main()
