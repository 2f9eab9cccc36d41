"""Volumes as tasks of a Dask cluster: its own here, or a group's."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mrunfold.batch.plan import Volume
from mrunfold.batch.task import Outcome, Task, attend, cpu_threads, failure
from mrunfold.batch.volume import Work
from mrunfold.errors import InputError
from mrunfold.export.record import versions
from mrunfold.extras import require
from mrunfold.pipeline.slices import choose_device
from mrunfold.pipeline.threads import available_cores

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Fleet", "open_fleet"]

log = logging.getLogger(__name__)

ANSWER = 15  # seconds for a scheduler to answer
WAIT = 600  # seconds for its first worker
# A terminal sends Ctrl-C to the workers too: only the command that started them is to hear it.
DEAF = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
SILENT = 45  # seconds after which a worker that says nothing counts as lost; it speaks every second or so
TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
MOST_WORKERS = 256
DEATHS = 3  # of workers with one volume in hand, before that volume is given up
# torch's threads are of a process: two volumes at a time in one would share them.
_one_volume = threading.Lock()


@dataclass(frozen=True)
class Fleet:
    """Workers of a Dask cluster; threads: of the CPU for each volume, the same for any number of workers."""

    client: Client
    threads: int

    def device(self, name: str, out: Path) -> torch.device:
        """Return the device called `name` as the workers have it; InputError where they are unlike.

        They must be of one kind of device, have this version of mrunfold, and see the folder `out`.
        """
        found = self.client.run(_probe, name, str(out.absolute()))
        for worker, (error, version, sees, _) in found.items():
            if error:
                raise InputError(f"worker {worker}: {error}")
            if version != _version():
                raise InputError(
                    f"worker {worker} has mrunfold {version}, here it is {_version()}; install the same one"
                )
            if not sees:
                raise InputError(f"worker {worker} does not see {out}; choose an `out` that all can write")
        kinds = sorted({device for _, _, _, device in found.values()})
        if len(kinds) != 1:
            raise InputError(
                f"workers have {' and '.join(kinds)}, whose results differ; choose one by `device`"
            )
        return torch.device(kinds[0])

    def outcomes(self, tasks: Iterable[Task], work: Work) -> Iterator[Outcome]:
        """Yield the outcome of each task as it is known; a lost worker's are done again by others."""
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        submitted = {
            self.client.submit(
                _attend_in_worker, _absolute(task), work, self.threads, pure=False, priority=-place, retries=0
            ): task
            for place, task in enumerate(tasks)
        }
        try:
            for future in as_completed(list(submitted), loop=self.client.loop):
                task = submitted.pop(future)
                try:
                    yield future.result()
                except KilledWorker:
                    yield failure(
                        task,
                        f"{task.volume.path.name}: its worker died {DEATHS + 1} times, most likely out of "
                        "memory; try fewer coils (`coils=8`) or fewer workers",
                    )
                except CancelledError:
                    raise InputError(
                        "the Dask scheduler went away; what is done is kept, start one and run the same "
                        "command again"
                    ) from None
                future.release()
        finally:
            if submitted:
                self.client.cancel(list(submitted), force=True)


@contextmanager
def open_fleet(
    workers: int | None, scheduler: str | None, threads: int | None, tls: Path | None = None
) -> Iterator[Fleet]:
    """Give a Fleet of `workers` processes of this machine, or of the cluster whose address is `scheduler`.

    Whoever answers at `scheduler` is trusted: it has this process unpickle what it sends.  tls: a folder with
    ca.pem, cert.pem and key.pem, by which both sides know each other, for an address tls://….
    Raises InputError where Dask is not installed, nobody answers, or the workers would share their cores.
    """
    require("dask", "distributed", "cryptography", what="a batch with workers")
    import distributed

    _check(workers, scheduler, threads, tls)
    # Dask says much on stderr of workers that come and go; what a user needs is in the outcomes.
    _quiet()
    if scheduler is None:
        assert workers is not None
        with _local(workers) as client:
            yield Fleet(client, threads or 1)
        return
    try:
        client = distributed.Client(scheduler, timeout=ANSWER, set_as_default=False, security=_known_by(tls))
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {scheduler} ({error}); check the address") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WAIT)
        except TimeoutError:
            raise InputError(f"the scheduler at {scheduler} has no worker; start some first") from None
        for address, worker in client.scheduler_info(n_workers=-1)["workers"].items():
            if worker["nthreads"] != 1:
                raise InputError(
                    f"worker {address} takes {worker['nthreads']} volumes at a time, which share its cores; "
                    "start workers with --nthreads 1 and give CPU threads by `threads`"
                )
        yield Fleet(client, threads or 1)


@contextmanager
def _local(workers: int) -> Iterator[Client]:
    import dask
    import distributed
    from distributed.security import Security

    from mrunfold.batch.local import local_cluster

    settings = {
        "distributed.scheduler.worker-ttl": f"{SILENT}s",
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.comm.timeouts.connect": "60s",
        "distributed.worker.daemon": True,
        "distributed.worker.preload": [DEAF],
    }
    with (
        dask.config.set(settings),
        # Keys of this cluster alone: whoever may speak to a worker may have it run anything.
        local_cluster(workers, Security.temporary()) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(workers, timeout=WAIT)
        client.subscribe_topic("scheduler", _say_what_stopped)
        yield client


def _say_what_stopped(event: tuple[float, Any]) -> None:
    """Tell of workers that do not answer: the scheduler starts them anew, and others do their volumes."""
    about = event[1]
    if isinstance(about, dict) and about.get("action") == "worker-ttl-timed-out":
        log.warning(
            "%d of the workers did not answer for %d s and are started anew; their volumes are done again",
            len(about.get("workers", ())),
            about.get("ttl", SILENT),
        )


def _quiet() -> None:
    """Silence Dask's loggers one by one: its configuration gives each a level and a handler of its own."""
    for name in ["distributed", *logging.root.manager.loggerDict]:
        if name.split(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _known_by(tls: Path | None) -> Any:
    from distributed.security import Security

    if tls is None:
        return None
    ca, cert, key = (str(tls / name) for name in TLS_FILES)
    return Security(tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True)


def _check(workers: int | None, scheduler: str | None, threads: int | None, tls: Path | None) -> None:
    if (workers is None) == (scheduler is None):
        raise InputError("give `workers` for a cluster here, or `scheduler` for another, not both")
    if tls is not None:
        if scheduler is None or not scheduler.startswith("tls://"):
            raise InputError("`tls` is for a `scheduler` tls://host:port; `workers` have keys of their own")
        missing = [name for name in TLS_FILES if not (tls / name).is_file()]
        if missing:
            raise InputError(f"{tls} has no {missing[0]}; `tls` names a folder with {', '.join(TLS_FILES)}")
    if workers is None:
        return
    if not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"`workers` is from 1 to {MOST_WORKERS}, got {workers}; beyond, use `scheduler`")
    cores = available_cores()
    if threads is not None and threads > 1 and workers * threads > cores:
        raise InputError(
            f"{workers} workers of {threads} threads are more than the {cores} cores here; give fewer of one"
        )


def _version() -> str | None:
    return versions(["mrunfold"])["mrunfold"]


def _absolute(task: Task) -> Task:
    volume = Volume(task.volume.path.absolute(), task.volume.final.absolute())
    return replace(task, volume=volume)


def _probe(name: str, out: str) -> tuple[str, str | None, bool, str]:
    """Return (error, version, whether it sees the folder, kind of device) of the worker that this runs in."""
    try:
        kind, error = str(choose_device(name)), ""
    except InputError as refused:
        kind, error = "", str(refused)
    return error, _version(), os.path.isdir(out), kind


def _attend_in_worker(task: Task, work: Work, threads: int) -> Outcome:
    """Do one volume; weights that were loaded for an earlier one are there still."""
    with _one_volume, cpu_threads(threads):
        return attend(task, work)
