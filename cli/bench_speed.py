"""The commands of `mrunfold bench` that measure time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["COMMANDS", "Out", "finish", "say"]

Coils = Annotated[int, typer.Option(min=1, help="Receive coils.")]
Size = Annotated[int, typer.Option(min=48, help="Matrix size, square.")]
Repeats = Annotated[int, typer.Option(min=1, help="Measurements; their median counts.")]
Weights = Annotated[str | None, typer.Option(help="Weights of the learned method.")]
Iterations = Annotated[int, typer.Option(min=1, help="Of L1-wavelet and TV.")]
Device = Annotated[str, typer.Option(help="Where ours runs: auto, cpu, cuda, mps.")]
Out = Annotated[Path | None, typer.Option(help="JSON file to write.")]


def speed(
    coils: Coils = 15,
    size: Size = 320,
    repeats: Repeats = 5,
    iterations: Iterations = 60,
    weights: Weights = None,
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="A small copy for the bounds, to try it.")] = False,
    csv: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG to write.")] = None,
    out: Out = None,
) -> None:
    """Time each stage of a slice against its peers (SigPy, BART) and its bound, in one run."""
    from mrunfold.benchmarks.speed import stages as bench

    found = bench.measure(
        coils, size, repeats, iterations, weights, _device(device), 16 if quick else 256, say
    )
    for path, write in ((csv, bench.write_csv), (picture, bench.write_picture)):
        if path is not None:
            write(found, path)
            print(f"wrote {path}")
    finish(found, "\n".join(bench.tables(found)), out)
    for name, reason in found["methods"]["skipped"].items():
        print(f"{name} was not measured: {reason}")
    print(f"peak memory of this process: {found['methods']['peak_memory_mib']:.0f} MiB")


def methods(
    data: Annotated[
        Path | None, typer.Argument(help="Fully sampled raw file or .mat file; a simulated head if none.")
    ] = None,
    coils: Coils = 15,
    size: Size = 320,
    repeats: Repeats = 3,
    accel: Annotated[float, typer.Option(min=1, help="Acceleration of the Poisson mask.")] = 8.0,
    iterations: Iterations = 60,
    weights: Weights = None,
    device: Device = "auto",
    out: Out = None,
) -> None:
    """Time one slice of yours by each method and BART, maps given, with the PSNR of each."""
    from mrunfold.benchmarks.speed.methods import MethodRow, markdown, measure

    def report(row: MethodRow) -> None:
        start = f", start and files {row.overhead:.2f} s apart" if row.overhead else ""
        print(f"{row.name}: {row.seconds:.2f} s a slice, {row.psnr:.2f} dB{start}", flush=True)

    found = measure(data, coils, size, repeats, accel, iterations, weights, report, _device(device))
    finish(found, markdown(found), out)
    for name, reason in found["skipped"].items():
        print(f"{name} was not measured: {reason}")
    print(f"peak memory of this process: {found['peak_memory_mib']:.0f} MiB")


def scaling(
    repeats: Repeats = 4,
    weights: Weights = None,
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Small curves, to try it.")] = False,
    picture: Annotated[Path | None, typer.Option(help="PNG of the curves to write.")] = None,
    out: Out = None,
) -> None:
    """Show how the time of a slice grows with matrix size, coils and slices."""
    from mrunfold.benchmarks.speed import scaling as curves

    small = {"matrix": (48, 64), "coils": (1, 2, 4), "slices": (1, 2)}
    options: dict[str, Any] = {"sizes": small, "coils": 2, "size": 48} if quick else {}
    found = curves.measure(**options, repeats=repeats, weights=weights, report=say, device=_device(device))
    if picture is not None:
        curves.write_picture(found, picture)
        print(f"wrote {picture}")
    finish(found, curves.markdown(found), out)


def compile(
    coils: Coils = 8,
    size: Size = 320,
    repeats: Repeats = 5,
    way: Annotated[list[str] | None, typer.Option(help="Ways to try; all if none. May be repeated.")] = None,
    weights: Weights = None,
    out: Out = None,
) -> None:
    """Time torch.compile and bfloat16 against plain float32: warm-up, gain, difference."""
    from mrunfold.benchmarks.speed.compiled import WAYS, markdown, measure
    from mrunfold.errors import InputError, did_you_mean

    for name in way or ():
        if name not in WAYS:
            raise InputError(f"there is no way {name!r}{did_you_mean(name, WAYS)}")
    chosen = tuple(way) if way else WAYS
    found = measure(coils, size, repeats, chosen, weights, say)
    finish(found, markdown(found), out)


def runtime(
    coils: Coils = 15,
    size: Annotated[int, typer.Option(min=32, help="Matrix size, square.")] = 320,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of each in a round.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Turns the two take.")] = 3,
    weights: Weights = None,
    build: Annotated[
        Path | None, typer.Option(help="Folder to build the C++ program in, kept; a temporary one if none.")
    ] = None,
) -> None:
    """Time the C++ program against Python: the same slice, weights and threads, maps given."""
    from mrunfold.benchmarks.speed.runtime import measure

    found = measure(coils, size, repeats, rounds, weights, build, say)
    print(
        f"C++: {found.program:.3f} s a slice; Python: {found.python:.3f} s; Python / C++: {found.ratio:.2f}; "
        f"images differ by at most {found.difference:.1e} of their height"
    )


def serve(
    coils: Coils = 15,
    size: Size = 320,
    slices: Annotated[int, typer.Option(min=1, help="Slices of the scan.")] = 4,
    accel: Annotated[float, typer.Option(min=1, help="Acceleration, random lines; 1 for all lines.")] = 4.0,
    line_ms: Annotated[float, typer.Option(min=0.1, help="The scanner's milliseconds a line.")] = 5.0,
    broken: Annotated[int, typer.Option(min=10, help="Broken streams.")] = 100,
    parallel: Annotated[int, typer.Option(min=1, help="Scans sent at once.")] = 10,
    device: Device = "auto",
    out: Out = None,
) -> None:
    """Time a slice from its last line to its image, at a scanner's pace and at once; broken streams."""
    from mrunfold.benchmarks.speed.serve import facts, markdown, measure

    found = measure(coils, size, slices, accel, line_ms, broken, parallel, _device(device), say)
    finish(found, markdown(found), out)
    for line in facts(found):
        print(line)


def volume(
    slices: Annotated[int, typer.Option(min=1, help="Slices of the volume.")] = 30,
    coils: Coils = 15,
    size: Size = 320,
    iterations: Iterations = 60,
    slow_slices: Annotated[
        int, typer.Option(min=1, help="Slices for SigPy's maps, which take ten seconds each.")
    ] = 3,
    weights: Weights = None,
    device: Device = "auto",
    out: Out = None,
) -> None:
    """Time `recon` of a volume beside SigPy and BART: wall and processor seconds a slice, memory."""
    from mrunfold.benchmarks.speed.volume import markdown, measure, sentence

    found = measure(slices, coils, size, iterations, slow_slices, weights, _device(device), say)
    finish(found, markdown(found), out)
    print(sentence(found))
    for name, reason in found["skipped"].items():
        print(f"{name} was not measured: {reason}")


COMMANDS = (speed, methods, scaling, compile, runtime, serve, volume)


def say(line: str) -> None:
    print(line, flush=True)


def _device(name: str) -> str:
    from mrunfold.pipeline.slices import choose_device

    return str(choose_device(name))


def finish(found: dict[str, Any], table: str, out: Path | None) -> None:
    from mrunfold.benchmarks.store import save_measured

    print(f"\n{table}")
    if out is not None:
        save_measured(found, out)
        print(f"wrote {out}")
