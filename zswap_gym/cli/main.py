"""The ``zswap-gym`` command: puts the subcommands together and turns errors into one line.

Exit codes: 0 done, 2 bad input (one line on stderr says what, where and what to do), 130 interrupted.
A traceback means a bug in zswap-gym, never a mistake of the person at the keyboard.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from zswap_gym.cli import (
    advise,
    bench,
    control,
    demo,
    evaluate,
    export,
    fidelity,
    learn,
    record,
    restore,
    scenarios,
    score,
    train,
    tune,
    warm,
)  # fmt: skip
from zswap_gym.errors import UserError

BAD_INPUT = 2
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk or quota, which any write may meet."""
INTERRUPTED = 130  # what a shell reports for SIGINT

GOING_ON = {
    "learn": "; the same command goes on",
    "train": "; the same command with --resume goes on",
    "tune": "; the same command goes on",
}
"""How to go on with an interrupted command, where there is more to it than running it again."""

app = typer.Typer(
    name="zswap-gym",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from zswap_gym import __version__

        print(f"zswap-gym {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Learn when to write cold compressed pages from zswap to swap, and how many.

    The road, each step one command:

        zswap-gym scenarios list                     # machines, workloads
        zswap-gym record PID -o mine.npz             # what a program of yours touches
        zswap-gym advise redis_zipf                  # what to write, without learning
        zswap-gym learn mixed-host --minutes 10      # a policy for what one has
        zswap-gym train demo --out runs/mine         # the same by an experiment's file
        zswap-gym evaluate --policy runs/mine --scenario mixed-test
        zswap-gym export runs/mine --out policy.npz  # one file, no torch
        zswap-gym score policy.npz                   # on the suite that everybody meets
        zswap-gym control observe                    # on a host; does nothing unless told

    `zswap-gym demo` walks it all in minutes.
    """


app.command()(record.record)
app.command("import")(record.import_)
app.command()(advise.advise)
app.command()(tune.tune)
app.command()(learn.learn)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(score.score)
app.command()(export.export)
app.command()(control.control)
app.command()(restore.restore)
app.add_typer(scenarios.app, name="scenarios")
app.command()(demo.demo)
app.command()(fidelity.fidelity)
app.command()(bench.bench)
app.command()(warm.warm)


def _is_for_hosts() -> bool:
    """Whether this is the small distribution for hosts, without the simulated side (packaging/host)."""
    import zswap_gym

    return not (Path(zswap_gym.__file__).parent / "kernel").is_dir()


def _complain(message: str) -> int:
    print("zswap-gym: " + " ".join(message.split()), file=sys.stderr)
    return BAD_INPUT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``argv`` defaults to the process's arguments."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        status = app(args or ["--help"], prog_name="zswap-gym", standalone_mode=False)
    except UserError as error:
        return _complain(str(error))
    except typer.TyperException as error:  # a usage error: unknown option, missing argument
        return _complain(f"{error.format_message().rstrip('.')}; --help shows what is expected")
    except ModuleNotFoundError as error:
        if not _is_for_hosts():
            raise
        return _complain(
            f"{args[0]}: needs {error.name}, which zswap-gym-host leaves out; "
            "pip install zswap-gym in an environment of its own"
        )
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror}; make room and run it again (train: with --resume)")
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:  # typer makes this status of most KeyboardInterrupts
        print(f"zswap-gym: interrupted{GOING_ON.get(args[0] if args else '', '')}", file=sys.stderr)
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
