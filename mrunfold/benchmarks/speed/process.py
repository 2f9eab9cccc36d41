"""What a program takes from its start to its end: seconds, memory, and energy where the system counts it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Meter", "Used", "processor", "used"]

COUNTERS = Path("/sys/class/powercap")  # RAPL: Linux, Documentation/power/powercap
CPUINFO = Path("/proc/cpuinfo")
# A program's peak memory begins with that of the process that starts it: a small one does.
LAUNCH = """
import json, os, sys, time
began = time.monotonic()
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
took = [began, time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]
print(json.dumps([os.waitstatus_to_exitcode(status), *took]))
"""


@dataclass(frozen=True)
class Used:
    """What a program took: when it began (time.monotonic), wall seconds, processor seconds of it and its own
    processes, peak resident memory, and joules of all sockets, None without counters."""

    began: float
    seconds: float
    cpu: float
    memory_mib: float
    joules: float | None


def used(command: Sequence[str], folder: Path) -> Used:
    """Run a program in `folder` to its end, with the threads it takes by itself; RuntimeError if it fails."""
    with tempfile.TemporaryFile() as said:
        meter = Meter()
        launch = [sys.executable, "-I", "-S", "-c", LAUNCH, *command]
        done = subprocess.run(launch, cwd=folder, stdout=subprocess.PIPE, stderr=said, check=True)
        joules = meter.joules()
        # What the program itself printed comes before.
        status, began, seconds, cpu, peak = json.loads(done.stdout.splitlines()[-1])
        if status:
            said.seek(0)
            words = (done.stdout + said.read()).decode(errors="replace")[-500:]
            raise RuntimeError(f"{os.path.basename(command[0])} ended with {status}: {words}")
    return Used(began, seconds, cpu, peak / (2**20 if sys.platform == "darwin" else 2**10), joules)


class Meter:
    """Counts the energy of all sockets from when it is made, by RAPL; other processes are in it.

    folder: where the kernel has its counters.
    """

    def __init__(self, folder: Path = COUNTERS) -> None:
        self._zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        self._begun = self._read()

    def joules(self) -> float | None:
        """Return the energy so far in J, None where the system has no counters or does not let them be read.

        A counter that began anew since is taken to have done so once.
        """
        now = self._read()
        if self._begun is None or now is None:
            return None
        spent = [(end - start) % span for (start, span), (end, _) in zip(self._begun, now, strict=True)]
        return sum(spent) / 1e6

    def _read(self) -> list[tuple[int, int]] | None:
        """Return (µJ, where the counter begins anew) of each socket."""
        try:
            found = [
                tuple(int((zone / name).read_text()) for name in ("energy_uj", "max_energy_range_uj"))
                for zone in self._zones
            ]
        except (OSError, ValueError):  # for root alone, on most systems
            return None
        return [(now, span + 1) for now, span in found] or None


def processor(file: Path = CPUINFO) -> str:
    """Return the name of the processor, its architecture where the system does not say."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
