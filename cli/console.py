"""What every command prints with: errors on one line, tables, a progress bar that stays out of pipes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mrunfold.text import printable

__all__ = [
    "as_options",
    "counted",
    "note",
    "one_line",
    "option_names",
    "print_error",
    "print_table",
    "slice_progress",
    "volume_progress",
]


def one_line(message: object) -> str:
    """Return `message` as one line that prints: breaks folded, control characters of names spelled out."""
    return printable(" ".join(str(message).split()))


def print_error(message: object, label: str = "error") -> None:
    """Print `error: message` on stderr, on one line."""
    print(f"{label}: {one_line(message)}", file=sys.stderr, flush=True)


# Parameters of the library whose option has another name.
RENAMED = {
    "extras": "--with",
    "reference": "--from-dicom",
    "elements": "--set",
    "others": "--as",
    "final": "--out",
    "folder": "--out",
    "data_folder": "--data",
    "center_fraction": "--center-fraction",
    "repeats": "--repeat",
}
PARAMETER = re.compile(r"`([a-z_]+)(?:=([^`]+))?`")


def as_options(message: str, names: Mapping[str, str]) -> str:
    """Return a message of the library with its parameters, `accel` or `mask='poisson'`, as options.

    names: parameter → option, "--accel", of the command; what is neither there nor in RENAMED stays.
    """

    def option(match: re.Match[str]) -> str:
        name, value = match.group(1), match.group(2)
        flag = names.get(name) or RENAMED.get(name)
        if flag is None:
            return match.group()
        plain = "" if value in (None, "True") else value.strip("'\"")
        return f"{flag} {plain}".rstrip()

    return PARAMETER.sub(option, message)


def option_names(group: Any, context: Any) -> dict[str, str]:
    """Return parameter → option of the command that a click group invoked, then of all others."""
    names: dict[str, str] = {}
    chosen = group.commands.get(context.invoked_subcommand)
    for command in [*([chosen] if chosen is not None else []), *group.commands.values()]:
        for one in (command, *getattr(command, "commands", {}).values()):
            for parameter in one.params:
                flags = [flag for flag in parameter.opts if flag.startswith("--")]
                if flags and parameter.name:
                    names.setdefault(parameter.name, max(flags, key=len))
    return names


def note(message: str, quiet: bool = False) -> None:
    """Print one line on stdout, unless `quiet`."""
    if not quiet:
        print(printable(message), flush=True)


def print_table(rows: Sequence[tuple[str, str]], title: str | None = None) -> None:
    """Print two columns, name and value, the first as wide as it needs; values are never cut."""
    if title:
        print(printable(title))
    shown = [(printable(name), printable(value)) for name, value in rows]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"  {name:<{width}}  {value}".rstrip())
    sys.stdout.flush()


@contextmanager
def slice_progress(quiet: bool = False) -> Iterator[Callable[[float, int], None]]:
    """Give a callback (slices done, slices in all) that draws a bar on a terminal's stderr.

    The bar says how many slices are done, seconds a slice and the time left; where stderr is not a terminal a
    line now and then says the same; nothing is printed when `quiet`.
    """
    if quiet or not sys.stderr.isatty():
        from mrunfold.pipeline.progress import progress_lines

        with progress_lines(quiet) as lines:
            yield lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("slice {task.fields[current]}/{task.fields[count]}"),
        BarColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1, current=0, count="?", pace="")

        def show(done: float, total: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            pace = f"{elapsed / done:.1f} s/slice" if done >= 1 else ""
            current = min(int(done) + 1, total)
            bar.update(task, completed=done, total=total, current=current, count=total, pace=pace)

        yield show


@contextmanager
def volume_progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a callback (volumes done, volumes in all) that draws a bar on a terminal's stderr after 2 s."""
    with counted(quiet) as show:
        yield lambda done, total: show("volume", done, total)


@contextmanager
def counted(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Give a callback (what, how many done, of how many) for a bar on a terminal's stderr after 2 s."""
    import time

    if quiet or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", total=None)
    begun = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        bar.update(task, description=what, completed=done, total=total)
        if not bar.live.is_started and done < total and time.monotonic() - begun > 2:
            bar.start()

    try:
        yield show
    finally:
        bar.stop()
