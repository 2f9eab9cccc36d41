"""The inline server: how long after its last line a slice is there, and what strangers do to it."""

from __future__ import annotations

import io
import logging
import socket
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrunfold.benchmarks.head import head_kspace
from mrunfold.benchmarks.measured import rows_markdown
from mrunfold.benchmarks.store import about
from mrunfold.errors import InputError
from mrunfold.inline import Configuration, Limits, Server, configurations
from mrunfold.inline.client import Answer, Source, send
from mrunfold.inline.images import MEAN_SERIES
from mrunfold.masks import draw
from mrunfold.pipeline.run import reconstruct

__all__ = ["facts", "markdown", "measure"]

CENTRE, FEWEST, SEED = 0.08, 12, 0  # of all lines in the centre, and how many at least
LAST_IN_SLICE = 8
SMALL_COILS, SMALL = 4, 64  # of the scans that are sent in parallel and of the broken streams
WARM = 0.2  # of the broken streams come before memory is looked at: buffers grow once


def write_scan(
    path: Path, coils: int, size: int, slices: int, accel: float, seed: int = 0
) -> tuple[Path, int]:
    """Write a simulated head as an ISMRMRD file, slice after slice of random lines; return its lines a slice.

    seed: other noise, and another brightness of each slice.
    """
    import ismrmrd

    kspace = head_kspace(coils, size)
    kept = np.ones(size, bool)
    if accel > 1:
        kept = draw(
            "random", (size, size), accel, seed=SEED, center_fraction=max(CENTRE, FEWEST / size)
        ).array[0]
    lines = np.flatnonzero(kept).tolist()
    rng = np.random.default_rng(seed)
    dataset = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    dataset.write_xml_header(_xml(size, slices).encode())
    for place in range(slices):
        factor = complex(rng.uniform(0.5, 1.5))
        for line in lines:
            acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(factor * kspace[..., line]))
            acquisition.idx.kspace_encode_step_1, acquisition.idx.slice = line, place
            acquisition.center_sample = size // 2
            if line == lines[-1]:
                acquisition.set_flag(LAST_IN_SLICE)
            dataset.append_acquisition(acquisition)
    dataset.close()
    return path, len(lines)


def _xml(size: int, slices: int) -> str:
    space = (
        f"<matrixSize><x>{size}</x><y>{size}</y><z>1</z></matrixSize>"
        f"<fieldOfView_mm><x>{size}</x><y>{size}</y><z>5</z></fieldOfView_mm>"
    )
    counters = (("kspace_encoding_step_1", size - 1, size // 2), ("slice", slices - 1, 0))
    limits = "".join(
        f"<{name}><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center></{name}>"
        for name, last, centre in counters
    )
    return (
        '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions>'
        "<H1resonanceFrequency_Hz>128000000</H1resonanceFrequency_Hz></experimentalConditions><encoding>"
        f"<encodedSpace>{space}</encodedSpace><reconSpace>{space}</reconSpace>"
        f"<encodingLimits>{limits}</encodingLimits><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
    )


@contextmanager
def _serving(known: Mapping[str, Configuration], connections: int) -> Iterator[Server]:
    with Server(known, port=0, limits=Limits(connections=connections)) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join()


@contextmanager
def _no_log() -> Iterator[None]:
    """Leave out what the server says of each broken stream."""
    log = logging.getLogger("mrunfold.inline")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def measure(
    coils: int,
    size: int,
    slices: int,
    accel: float,
    line_ms: float,
    broken: int,
    parallel: int,
    device: str,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Serve in this process and send to it; return what was measured.

    Images are compared with those of `recon` of the same files.  line_ms: the scanner's pace.
    """
    checked = configurations(["inline-mean"], device, {"check": slices})
    plain = configurations(["inline-mean"], device, {"check": 0})
    with tempfile.TemporaryDirectory(prefix="mrunfold-bench-") as name:
        folder = Path(name)
        path, lines = write_scan(folder / "scan.h5", coils, size, slices, accel)
        small, _ = write_scan(folder / "small.h5", SMALL_COILS, SMALL, 2, accel)
        with _serving(plain, 8) as server:
            _sent(small, server)  # what is loaded once
        began = time.perf_counter()
        expected = _by_recon(path, folder / "recon", plain)
        peer = (time.perf_counter() - began) / slices
        report(f"recon: {peer:.2f} s a slice")
        rows = []
        for known, check in ((plain, False), (checked, True)):
            for pace in (line_ms, 0.0):
                rows.append(_latency(path, known, lines, pace, expected))
                rows[-1] |= {"check": check, "ratio": rows[-1]["median_s"] / peer}
                report(f"{_row_name(rows[-1])}: {rows[-1]['median_s']:.2f} s after its last line")
        with _serving(plain, max(8, parallel)) as server:
            with warnings.catch_warnings(), _no_log():
                warnings.simplefilter("ignore")  # damaged samples overflow
                left = _broken(small, server, broken)
            report(f"{broken} broken streams: {left['memory_mb']} MB")
            mixed = _parallel(folder, server, plain, parallel, accel)
    return {
        **about("serve"),
        "coils": coils,
        "size": size,
        "slices": slices,
        "lines": lines,
        "accel": accel,
        "line_ms": line_ms,
        "device": device,
        "recon_s": peer,
        "rows": rows,
        "broken": left,
        "parallel": {"scans": parallel, "equal": mixed},
    }


def _by_recon(path: Path, out: Path, known: Mapping[str, Configuration]) -> np.ndarray:
    reconstruct(path, out, known["default"].settings)
    with h5py.File(out / "recon.h5") as file:
        return np.asarray(file["reconstruction"][:])


def _sent(path: Path, server: Server, **how: Any) -> list[Answer]:
    with Source(path) as source:
        return send(source, server.address, "default", **how)


def _images(answers: Sequence[Answer]) -> list[tuple[float, Any]]:
    """Return when each reconstruction came, and it; its standard deviation is a series of its own."""
    return [
        (answer.at, answer.image)
        for answer in answers
        if answer.image is not None and answer.image.image_series_index == MEAN_SERIES
    ]


def _latency(
    path: Path, known: Mapping[str, Configuration], lines: int, line_ms: float, expected: np.ndarray
) -> dict[str, Any]:
    """Send a scan, and return when each slice came after its last line had gone."""
    gone: dict[int, float] = {}
    with _serving(known, 8) as server:
        answers = _sent(path, server, line_ms=line_ms, sent=lambda number, at: gone.update({number: at}))
    images = _images(answers)
    waits = [at - gone[(image.slice + 1) * lines - 1] for at, image in images]
    equal = sum(np.array_equal(image.data[0, 0].T, expected[image.slice]) for _, image in images)
    return {
        "line_ms": line_ms,
        "first_s": waits[0],
        "median_s": statistics.median(waits),
        "last_s": waits[-1],
        "slice_s": (images[-1][0] - gone[0]) / len(images),
        "acquired_s": lines * line_ms / 1e3,
        "equal": int(equal),
    }


def _broken(path: Path, server: Server, count: int) -> dict[str, Any]:
    """Send streams that are cut, damaged or of something else; return this process's memory and who lives."""
    packed = _bytes_of(path)
    rng = np.random.default_rng(SEED)
    memory = []
    for number in range(count):
        if number % 3 == 0:
            data = packed[: int(rng.integers(1, len(packed) - 2))]
        elif number % 3 == 1:
            damaged = bytearray(packed)
            for place in rng.integers(0, len(packed), 200):
                damaged[place] = int(rng.integers(0, 256))
            data = bytes(damaged)
        else:
            data = rng.bytes(int(rng.integers(1, 1 << 20)))
        _throw(server, data)
        if number in (int(WARM * count), count - 1):
            memory.append(resident_mb())
    alive = len(_images(_sent(path, server)))
    return {"streams": count, "memory_mb": memory, "images_after": alive, "bytes_kept": server.budget.used}


def _bytes_of(path: Path) -> bytes:
    from ismrmrd.serialization import ConfigFile, ProtocolSerializer

    from mrunfold.inline.messages import HeaderXml

    packed = io.BytesIO()
    serializer = ProtocolSerializer(packed)
    with Source(path) as source:
        for one in (ConfigFile("default"), HeaderXml(source.header), *source):
            serializer.serialize(one)
    serializer.close()
    return packed.getvalue()


def _throw(server: Server, data: bytes) -> None:
    with socket.create_connection(server.address) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass
        except OSError:
            return  # the server has closed before all was sent, as it may


def resident_mb() -> float | None:
    """Return the memory of this process in MB, None where the system does not say (/proc)."""
    try:
        fields = Path("/proc/self/status").read_text(encoding="ascii").split()
    except OSError:
        return None
    return round(int(fields[fields.index("VmRSS:") + 1]) / 1e3, 1)


def _parallel(
    folder: Path, server: Server, known: Mapping[str, Configuration], count: int, accel: float
) -> int:
    """Send scans at once, none like another, and return of how many all images are `recon`'s."""
    paths = [
        write_scan(folder / f"{n}.h5", SMALL_COILS, SMALL, 2, accel, seed=n + 1)[0] for n in range(count)
    ]
    found: dict[int, Sequence[Answer]] = {}

    def one(number: int) -> None:
        try:
            found[number] = _sent(paths[number], server, line_ms=2.0)
        except InputError:
            found[number] = []

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal = 0
    for number, path in enumerate(paths):
        expected = _by_recon(path, folder / f"recon{number}", known)
        images = {image.slice: image.data[0, 0].T for _, image in _images(found[number])}
        equal += sorted(images) == [0, 1] and all(np.array_equal(images[s], expected[s]) for s in images)
    return equal


def facts(found: dict[str, Any]) -> list[str]:
    """Return in words what broken streams and scans at once left behind."""
    broken, parallel = found["broken"], found["parallel"]
    memory = " to ".join("?" if mb is None else f"{mb:.0f}" for mb in broken["memory_mb"])
    return [
        f"{broken['streams']} broken streams: memory from a fifth of them to the last {memory} MB, "
        f"{broken['bytes_kept']} bytes kept of them, {broken['images_after']} of 2 images of a good scan",
        f"{parallel['scans']} scans at once: {parallel['equal']} equal to `recon` of their files",
    ]


def _row_name(row: Mapping[str, Any]) -> str:
    pace = f"a line each {row['line_ms']:g} ms" if row["line_ms"] else "as fast as it goes"
    return f"{pace}, {'checked' if row['check'] else 'not checked'}"


def markdown(found: dict[str, Any]) -> str:
    """Return the times of a slice as a Markdown table, `recon` of the same file beside."""
    rows = [
        [
            _row_name(row),
            f"{row['acquired_s']:.2f}" if row["line_ms"] else "–",
            f"{row['first_s']:.2f}",
            f"{row['median_s']:.2f}",
            f"{row['last_s']:.2f}",
            f"{row['slice_s']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['equal']} of {found['slices']}",
        ]
        for row in found["rows"]
    ]
    head = [
        "lines come",
        "s to acquire a slice",
        "last line → image, s: first slice",
        "median",
        "last",
        "s a slice in all",
        f"median / `recon` ({found['recon_s']:.2f} s a slice)",
        "equal to `recon`",
    ]
    return rows_markdown(head, rows)
