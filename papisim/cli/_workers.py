"""Options that say who computes the points of a sweep or search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from papisim.cli._options import PositiveInt
from papisim.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--workers", type=PositiveInt(), help="Processes, or workers of an embedded cluster.  [default: one a CPU]"
    ),
    click.option(
        "--scheduler",
        metavar="embedded|ADDRESS",
        help="Compute on Dask: a cluster of this machine's own, or one that runs at tcp://HOST:PORT or tls://HOST:PORT.",
    ),
    click.option(
        "--tls-ca", type=click.Path(path_type=Path, exists=True), help="Certificate of who signed the others."
    ),
    click.option("--tls-cert", type=click.Path(path_type=Path, exists=True), help="This machine's certificate."),
    click.option("--tls-key", type=click.Path(path_type=Path, exists=True), help="Its private key."),
)


def worker_options(function: F) -> F:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@contextmanager
def computing(
    *,
    workers: int | None,
    scheduler: str | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    quiet: bool,
) -> Iterator[Any]:
    """Yield the workers: this process, several, or a cluster."""
    from papisim.exploration.cluster import Tls, cluster, is_in_the_open  # noqa: PLC0415 - only when something is computed
    from papisim.exploration.workers import Here, Processes, n_cpus  # noqa: PLC0415

    given = [path for path in (tls_ca, tls_cert, tls_key) if path is not None]
    if given and (tls_ca is None or tls_cert is None or tls_key is None):
        raise InputError("--tls-ca, --tls-cert and --tls-key go together, and one is missing")
    if given and scheduler is None:
        raise InputError("--tls-ca, --tls-cert and --tls-key need --scheduler tls://HOST:PORT")
    count = workers or n_cpus()
    if scheduler is None:
        if count == 1:
            yield Here()
            return
        with Processes(count) as processes:
            yield processes
        return
    if is_in_the_open(scheduler) and not quiet:
        click.echo(
            f"papisim: note: what goes to {scheduler} is neither encrypted nor authenticated; see tls://", err=True
        )
    tls = Tls(tls_ca, tls_cert, tls_key) if tls_ca and tls_cert and tls_key else None
    with cluster(scheduler, count, tls) as dask:
        if not dask.n_workers and not quiet:
            click.echo(f"papisim: note: {scheduler} has no workers yet; points wait for some", err=True)
        yield dask
