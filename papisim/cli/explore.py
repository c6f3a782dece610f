"""``papisim explore``: a page with a control for each axis of a space, and charts around the point that they choose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from papisim.cli._axes import axis_options, given
from papisim.cli._command import Command
from papisim.cli._grid import space_of
from papisim.cli._options import PositiveInt, progress, quiet_option, run_option
from papisim.errors import InputError
from papisim.results.store import check_file, write_file

if TYPE_CHECKING:
    from papisim.exploration.explorer import Explorer
    from papisim.results.folder import Json

#: points that a page without a server is made of: each is some kilobytes of it
_MOST_POINTS = 5000


@click.command(name="explore", cls=Command)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@axis_options(required=False)
@run_option("set")
@click.option(
    "-o", "--out", metavar="PAGE", type=click.Path(path_type=Path), help="Page to write.  [default: explore.html]"
)
@click.option(
    "--serve", is_flag=True, help="Serve a page on 127.0.0.1 that simulates each point when it is asked for."
)
@click.option("--port", type=PositiveInt(), help="Port of --serve.  [default: any that is free]")
@click.option("--force", is_flag=True, help="Replace PAGE.")
@quiet_option
def command(
    *,
    file: Path | None,
    set: tuple[str, ...],
    out: Path | None,
    serve: bool,
    port: int | None,
    force: bool,
    quiet: bool,
    **options: tuple[tuple[object, ...], ...],
) -> None:
    """Write one page with a slider or a switch for each axis of a space; throughput, latency, energy, placement and roofline follow.

    The space is what FILE declares, the file of a sweep, and every combination of the options that have several values, separated by
    commas. Every point is simulated once and the page needs no network. With --serve, the page simulates each point when it is asked
    for, so that sliders have values between those of the space too. Both show the command and the file that repeat the point.

    \b
    Example:
      papisim explore scripts/dse/explore.yaml -o explore.html
      papisim explore --hw papi,gpu_only --trace llama7b --batch 1,64 --tlp 1,8 --serve
    """
    from papisim.exploration.explorer import Explorer  # noqa: PLC0415 - help should not wait for the engine

    if file is None and not {"hw", "trace"} <= given(options).keys():
        raise click.UsageError(
            "expected FILE, or --hw and --trace; both, and every other option, may have several values"
        )
    if serve and out is not None:
        raise click.UsageError("--serve writes no page; leave out --out")
    space = space_of(given(options), set, file)
    if not quiet and space.constraints:
        click.echo(
            "papisim: note: the page shows every point, whether or not it meets the constraints of the file", err=True
        )
    if serve:
        _serve(Explorer(space, live=True), port or 0, quiet=quiet)
        return
    page = out or Path("explore.html")
    check_file(page, force=force)
    write_file(page, _document(space.description, _points(Explorer(space), quiet=quiet)), force=force)
    if not quiet:
        click.echo(f"papisim: wrote {page}", err=True)


def _points(explorer: Explorer, *, quiet: bool) -> Json:
    """Simulate every point of a space and return the data of its page."""
    from papisim.exploration.preflight import check_space  # noqa: PLC0415 - help should not wait for the engine
    from papisim.exploration.run import points  # noqa: PLC0415

    page, values = explorer.page(), points(explorer.file)
    if len(values) > _MOST_POINTS:
        message = f"makes {len(values):,} points, expected at most {_MOST_POINTS:,}; leave out values, or --serve"
        raise InputError(message, file=explorer.file.document.file)
    check_space(explorer.file, values)
    rows = []
    with progress(len(values), "points", quiet=quiet) as advance:
        for done, each in enumerate(values, start=1):
            rows.append(explorer.point(each))
            advance(done, 0.0)
    return {**page, "rows": rows, "live": None}


def _document(title: str, data: Json) -> str:
    from papisim.report.html.explorer import explorer_page  # noqa: PLC0415 - start-up time

    return explorer_page(title, data)


def _serve(explorer: Explorer, port: int, *, quiet: bool) -> None:
    from papisim.exploration.serve import server_of  # noqa: PLC0415 - start-up time

    try:
        server = server_of(explorer, lambda data: _document(explorer.file.description, data), port)
    except OSError as error:
        raise InputError(f"--port {port} cannot be used: {error.strerror}") from None
    with server:
        click.echo(f"http://127.0.0.1:{server.server_address[1]}/")
        if not quiet:
            click.echo("papisim: serving this machine alone; Ctrl-C ends", err=True)
        server.serve_forever()
