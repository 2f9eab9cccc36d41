"""The command `mrunfold`: its subcommands, and what becomes of an error."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from mrunfold.cli.adapt import adapt
from mrunfold.cli.batch import batch
from mrunfold.cli.bench import app as bench
from mrunfold.cli.compile import compile
from mrunfold.cli.console import as_options, one_line, option_names, print_error
from mrunfold.cli.doctor import doctor
from mrunfold.cli.evaluate import evaluate
from mrunfold.cli.export import export
from mrunfold.cli.info import info
from mrunfold.cli.mask import mask
from mrunfold.cli.push import push
from mrunfold.cli.recon import recon
from mrunfold.cli.restore import restore
from mrunfold.cli.review import review
from mrunfold.cli.sample import sample
from mrunfold.cli.serve import send, serve
from mrunfold.cli.train import train
from mrunfold.cli.view import view
from mrunfold.errors import InputError
from mrunfold.extras import missing_package

__all__ = ["app", "run"]

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
# What went wrong, and what to do about it, for the operating system's refusals that users do meet.
REFUSALS = {
    errno.ENOSPC: "no space left on the disk; free some or choose another --out",
    errno.EDQUOT: "disk quota used up; free some space or choose another --out",
    errno.EFBIG: "the file would be larger than this system allows; choose another --out or fewer --slices",
    errno.EACCES: "permission denied; choose a place that you may read or write",
    errno.EPERM: "operation not permitted; choose a place that you may read or write",
    errno.EROFS: "the file system is read-only; choose another --out",
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "this is a folder, a file was expected",
}


def _describe(error: OSError) -> str:
    reason = REFUSALS.get(error.errno or 0) or error.strerror or one_line(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _interrupted() -> NoReturn:
    print_error("nothing was written", label="interrupted")
    raise SystemExit(INTERRUPTED) from None


def _follow_signal(error: BaseException) -> None:
    """Leave as a signal says if `error` came of one: a library that was being imported hides it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            _interrupted()
        if isinstance(cause, SystemExit):
            raise cause
        cause = cause.__cause__ or cause.__context__


class _Group(TyperGroup):
    """Subcommands whose errors are one line on stderr and an exit code; `--debug` anywhere shows more."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        debug = "--debug" in args[:end] or os.environ.get("MRUNFOLD_DEBUG", "") not in ("", "0")
        ctx.meta["mrunfold.debug"] = debug
        return super().parse_args(ctx, [a for i, a in enumerate(args) if i >= end or a != "--debug"])

    def invoke(self, ctx: Any) -> Any:
        debug = ctx.meta["mrunfold.debug"]
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort):
            _interrupted()
        except InputError as error:
            if debug:
                raise
            print_error(as_options(one_line(error), option_names(self, ctx)))
            raise SystemExit(BAD_INPUT) from None
        except OSError as error:
            if debug or error.errno == errno.EPIPE:  # the library below knows how to leave a closed pipe
                raise
            print_error(_describe(error))
            raise SystemExit(BAD_INPUT) from None
        except MemoryError:
            if debug:
                raise
            print_error("out of memory; try fewer coils (--coils 8) or another machine")
            raise SystemExit(BAD_INPUT) from None
        except Exception as error:
            _follow_signal(error)
            # Usage errors and planned exits know their own exit code, whichever copy of click raised them.
            if debug or hasattr(error, "exit_code"):
                raise
            if isinstance(error, ModuleNotFoundError) and (line := missing_package(error)):
                print_error(line)
                raise SystemExit(BAD_INPUT) from None
            print_error(
                f"{type(error).__name__}: {one_line(error)} (a bug in mrunfold: please report it, with "
                "what the same command prints under --debug)"
            )
            raise SystemExit(1) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from mrunfold import __version__

        print(f"mrunfold {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; anywhere on the line, or MRUNFOLD_DEBUG=1.")
    ] = False,
) -> None:
    """MRI reconstruction: raw multicoil k-space in, reviewable images out.  Not for diagnosis."""


for command in (
    recon,
    batch,
    export,
    view,
    review,
    push,
    serve,
    send,
    evaluate,
    restore,
    info,
    sample,
    mask,
    train,
    adapt,
    compile,
    doctor,
):
    app.command()(command)
app.add_typer(bench, name="bench")


def _terminate(signum: int, frame: Any) -> None:
    raise SystemExit(128 + signum)


def run() -> None:
    """Run the command line and exit with its code: 0, 1 (a bug), 2 (bad input) or 130 (interrupted)."""
    if threading.current_thread() is threading.main_thread():
        # A job scheduler's SIGTERM unwinds like Ctrl-C, so that unfinished results are removed.
        signal.signal(signal.SIGTERM, _terminate)
    app(prog_name="mrunfold")
    sys.exit(0)
