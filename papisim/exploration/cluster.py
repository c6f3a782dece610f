"""Sweeps on a Dask cluster: one embedded in this process's machine, or one that runs elsewhere.

Chunks of points go out through the scheduler and their tallies come back; rows do not, since each worker writes its own
into the sweep's folder. Every client of a scheduler can run code on its workers, so the embedded one listens on the
loopback interface alone, without a dashboard, and one elsewhere should be reached over TLS.
"""

from __future__ import annotations

import gc
import ipaddress
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from papisim.errors import InputError, MissingExtra, PapisimError
from papisim.exploration.workers import Chunk, Job, Progress, Tally, run_chunk

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

EMBEDDED = "embedded"

#: seconds to wait for a scheduler to answer
_PATIENCE_S = 10

#: workers that are reckoned with as long as a scheduler has none
_EXPECTED = 8


@dataclass(frozen=True)
class Tls:
    """The files by which this machine and a scheduler know each other."""

    ca: Path
    cert: Path
    key: Path


class Dask:
    """Computes on the workers of a Dask client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def n_workers(self) -> int:
        """Workers that the scheduler has by now."""
        return len(self._client.nthreads())

    @property
    def count(self) -> int:
        """Threads of all workers, or what is reckoned with until there are some."""
        return sum(self._client.nthreads().values()) or _EXPECTED

    def map(self, job: Job, chunks: Sequence[Chunk], progress: Progress) -> Generator[Tally, None, None]:
        """Compute chunks wherever there is room; those of a worker that is lost go to another."""
        from distributed import KilledWorker, as_completed  # noqa: PLC0415 - optional

        futures = [self._client.submit(run_chunk, job, chunk, key=chunk.name, pure=False) for chunk in chunks]
        try:
            for future in as_completed(futures, loop=self._client.loop):
                progress(future.result())
                yield future.result()
        except KilledWorker as error:
            raise PapisimError(
                f"chunk {error.task} ended every worker that tried it, perhaps for want of memory; finished points are "
                "kept, --resume continues"
            ) from None
        finally:
            self._client.cancel([future for future in futures if not future.done()])


@contextmanager
def cluster(scheduler: str, workers: int, tls: Tls | None = None) -> Iterator[Dask]:
    """Connect to a scheduler, or start a cluster on this machine's loopback interface.

    Args:
        scheduler: ``embedded``, ``tcp://HOST:PORT`` or ``tls://HOST:PORT``.
        workers: processes of an embedded cluster.
        tls: for ``tls://``; Dask's own configuration, if None.

    Raises:
        InputError: an address of another form, or TLS files for an address without it.
        MissingExtra: Dask is not installed.
        PapisimError: no scheduler answers.
    """
    check_address(scheduler, tls)
    try:
        import distributed  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingExtra("--scheduler", "dask", "sweep") from None
    if scheduler == EMBEDDED:
        with (
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                silence_logs="ERROR",
            ) as local,
            distributed.Client(local, set_as_default=False) as client,
        ):
            yield Dask(client)
        return
    with _connect(distributed.Client, scheduler, tls) as client:
        yield Dask(client)


def _connect(client: type[Client], scheduler: str, tls: Tls | None) -> Client:
    try:
        return client(scheduler, timeout=_PATIENCE_S, security=_security(tls), set_as_default=False)
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        reason = str(error)
    gc.collect()  # a client that has failed blocks for ever when it is collected while another one starts
    raise PapisimError(f"no scheduler answers at {scheduler}: {reason}")


def check_address(scheduler: str, tls: Tls | None) -> None:
    """Refuse what is no address of a scheduler.

    Raises:
        InputError: with what was expected.
    """
    if scheduler == EMBEDDED:
        if tls is not None:
            raise InputError("TLS files have no use with --scheduler embedded, which listens on the loopback alone")
        return
    if not _host(scheduler):
        raise InputError(f"found --scheduler {scheduler}, expected embedded, tcp://HOST:PORT or tls://HOST:PORT")
    if tls is not None and not scheduler.startswith("tls://"):
        raise InputError(f"TLS files need an address tls://HOST:PORT, found {scheduler}")


def is_in_the_open(scheduler: str) -> bool:
    """Whether talk with a scheduler would leave this machine unencrypted."""
    host = _host(scheduler)
    if not host or not scheduler.startswith("tcp://"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _host(scheduler: str) -> str | None:
    try:
        address = urlsplit(scheduler)
        return address.hostname if address.scheme in ("tcp", "tls") and address.port else None
    except ValueError:
        return None


def _security(tls: Tls | None) -> Security | None:
    if tls is None:
        return None
    from distributed.security import Security  # noqa: PLC0415 - optional

    return Security(
        tls_ca_file=str(tls.ca), tls_client_cert=str(tls.cert), tls_client_key=str(tls.key), require_encryption=True
    )
