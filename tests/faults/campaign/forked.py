"""Children that are forked from a process that has everything loaded: starting one costs milliseconds."""

from __future__ import annotations

import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["fork", "load_all", "wait"]


def load_all() -> None:
    """Load what children use, with one thread, before any is forked."""
    import torch
    from typer.testing import CliRunner  # noqa: F401

    torch.set_num_threads(1)
    import mrunfold.batch.dicom
    import mrunfold.cli.main
    import mrunfold.evaluation
    import mrunfold.review.write  # noqa: F401


def fork(work: Callable[[int], int | None], errors: Path, stopped: bool = False) -> tuple[int, int]:
    """Fork a child that does `work` with a pipe to write to; return its id and the pipe's end to read.

    errors: where its standard output and error go; stopped: it waits for SIGCONT first.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    code = 99
    try:
        os.setpgid(0, 0)
        os.close(reading)
        target = os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        if stopped:
            os.kill(os.getpid(), signal.SIGSTOP)
        code = work(writing) or 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 98
    finally:
        os._exit(code)


def lines(reading: int, limit_s: float) -> Iterator[bytes]:
    """Yield lines of a pipe until its end; TimeoutError where none comes for so long."""
    rest = b""
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while True:
            if not select.select([pipe], [], [], limit_s)[0]:
                raise TimeoutError
            block = pipe.read(65536)
            if not block:
                return
            *whole, rest = (rest + block).split(b"\n")
            yield from whole


def wait(child: int, limit_s: float) -> int | None:
    """Return a child's exit code, negative for a signal; None where it had to be killed after so long."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
