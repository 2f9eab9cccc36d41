"""A Dask cluster of this machine's processes that listens to nobody but its own; imported with Dask alone."""

from __future__ import annotations

import logging
from typing import Any

from distributed import Nanny, Scheduler, SpecCluster, Worker

__all__ = ["local_cluster"]

HOST = "127.0.0.1"


class _NoPages:
    """Without Dask's web pages and metrics, which any user of the machine could read."""

    http_server: Any = None

    def start_http_server(
        self, routes: Any, dashboard_address: Any, default_port: int = 0, ssl_options: Any = None
    ) -> None:
        """Start none."""
        from distributed.http.routing import RoutingApplication

        self.http_application = RoutingApplication(routes)
        self.http_server = _Nothing()


class _Nothing:
    address, port = HOST, 0

    def stop(self) -> None:
        """Nothing runs."""


class _Scheduler(_NoPages, Scheduler):
    pass


class _Worker(_NoPages, Worker):
    pass


def local_cluster(workers: int, security: Any) -> SpecCluster:
    """Return a running cluster of so many processes of one thread, over TLS on the loopback interface."""
    common = {"host": HOST, "protocol": "tls://", "security": security}
    worker = {
        "cls": Nanny,
        "options": {
            **common,
            "worker_class": _Worker,
            "nthreads": 1,
            "memory_limit": 0,  # the system's own limit holds; Dask's would stop a worker that is merely busy
            "dashboard": False,
            "silence_logs": logging.CRITICAL,
        },
    }
    scheduler = {"cls": _Scheduler, "options": {**common, "port": 0, "dashboard": False}}
    return SpecCluster(
        workers=dict.fromkeys(range(workers), worker),
        worker=worker,
        scheduler=scheduler,
        security=security,
        silence_logs=logging.CRITICAL,
    )
