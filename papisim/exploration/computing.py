"""The choice of workers: this process, several of this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from papisim.errors import InputError
from papisim.exploration.cluster import Tls, cluster, is_in_the_open
from papisim.exploration.workers import Here, Processes, Workers, n_cpus


@dataclass(frozen=True)
class Computing:
    """Where the points of a sweep or a search are computed.

    Attributes:
        workers: processes, or workers of an embedded cluster; one per CPU, if None.
        scheduler: ``embedded``, ``tcp://HOST:PORT`` or ``tls://HOST:PORT`` of Dask; processes of this machine, if None.
        tls_ca: certificate of the authority that signed the others.
        tls_cert: certificate of this machine.
        tls_key: its private key.
    """

    workers: int | None = None
    scheduler: str | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @contextmanager
    def open(self, note: Callable[[str], None]) -> Iterator[Workers]:
        """Yield the workers, which end with the ``with`` block.

        Args:
            note: called with remarks on the cluster.

        Raises:
            InputError: TLS files without an address, or some of them missing.
            MissingExtra: Dask is not installed.
        """
        tls, count = self._tls(), self.workers or n_cpus()
        if self.scheduler is None:
            if count == 1:
                yield Here()
                return
            with Processes(count) as processes:
                yield processes
            return
        if is_in_the_open(self.scheduler):
            note(f"what goes to {self.scheduler} is neither encrypted nor authenticated; see tls://")
        with cluster(self.scheduler, count, tls) as dask:
            if not dask.n_workers:
                note(f"{self.scheduler} has no workers yet; points wait for some")
            yield dask

    def _tls(self) -> Tls | None:
        if self.tls_ca is None and self.tls_cert is None and self.tls_key is None:
            return None
        if self.tls_ca is None or self.tls_cert is None or self.tls_key is None:
            raise InputError("--tls-ca, --tls-cert and --tls-key go together, and one is missing")
        if self.scheduler is None:
            raise InputError("--tls-ca, --tls-cert and --tls-key need --scheduler tls://HOST:PORT")
        return Tls(self.tls_ca, self.tls_cert, self.tls_key)
