"""Options that choose the workers of a sweep or a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from papisim.cli._options import PositiveInt, stack

F = TypeVar("F", bound=Callable[..., object])

workers_option = click.option("--workers", type=PositiveInt(), help="Processes.  [default: one per CPU]")

_OPTIONS = (
    click.option(
        "--workers", type=PositiveInt(), help="Processes, or workers of an embedded cluster.  [default: one per CPU]"
    ),
    click.option(
        "--scheduler",
        metavar="embedded|ADDRESS",
        help="Compute on Dask: a cluster of this machine's own, or one that runs at tcp://HOST:PORT or tls://HOST:PORT.",
    ),
    click.option(
        "--tls-ca",
        type=click.Path(path_type=Path, exists=True),
        help="Certificate of the authority that signed the others.",
    ),
    click.option("--tls-cert", type=click.Path(path_type=Path, exists=True), help="This machine's certificate."),
    click.option("--tls-key", type=click.Path(path_type=Path, exists=True), help="Its private key."),
)
_NAMES = ("workers", "scheduler", "tls_ca", "tls_cert", "tls_key")


def split_workers(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of the options of :func:`worker_options`, and all others."""
    workers = {name: options[name] for name in _NAMES}
    return workers, {name: value for name, value in options.items() if name not in _NAMES}


def worker_options(function: F) -> F:
    """Add the options to a command."""
    return stack(*_OPTIONS)(function)
