"""``papisim capture``: turn a real model into a kernel trace."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from papisim.capture.models import require_torch, resolve
from papisim.cli._options import quiet_option
from papisim.errors import InputError


@click.command(name="capture")
@click.argument("model")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for trace.yaml and config.json.  [default: traces/kernels/MODEL]",
)
@click.option("--force", is_flag=True, help="Replace the trace in --out.")
@quiet_option
def command(*, model: str, out: Path | None, force: bool, quiet: bool) -> None:
    r"""Record one decode iteration of MODEL and write it as a kernel trace.

    MODEL is a shipped name, a config.json or its folder, or an architecture that transformers carries (its default
    configuration is captured). The model runs on meta tensors: no weights are needed and none are allocated. The path of
    the trace goes to stdout, progress to stderr. Needs the extra: pip install 'papisim[capture]'.

    \b
    Example:
      papisim capture llama7b --out my-traces/llama7b
    """
    require_torch()
    source = resolve(model)
    folder = out or Path("traces/kernels") / source.name
    if (folder / "trace.yaml").exists() and not force:
        raise InputError("exists already; --force overwrites it", file=str(folder / "trace.yaml"))
    # these import torch, which takes seconds: not before MODEL and --out are known to be good
    from papisim.capture.run import capture  # noqa: PLC0415
    from papisim.capture.write import write_trace  # noqa: PLC0415

    def progress(line: str) -> None:
        if not quiet:
            click.echo(f"papisim: {line}", err=True)

    trace = capture(source, shlex.join(["papisim", "capture", model]), progress)
    click.echo(write_trace(trace, source.config_json, folder, force=force))
