"""``papisim capture``: turn a real model into a kernel trace."""

from __future__ import annotations

from pathlib import Path

import click

from papisim.api.kernels import capture as write_trace
from papisim.cli._command import Command
from papisim.cli._options import PositiveInt, format_option, quiet_option
from papisim.cli._silicon import Grid, WholeNumbers, profile_grid, show_import
from papisim.tracing.models import require_torch, resolve


@click.command(name="capture", cls=Command)
@click.argument("model", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for trace.yaml and config.json [default: traces/kernels/MODEL], or for the table of durations "
    "[default: kernels/measured/GPU].",
)
@click.option("--force", is_flag=True, help="Replace files in --out.")
@click.option(
    "--device",
    type=click.Choice(["meta", "cuda"]),
    default="meta",
    show_default=True,
    help="meta: shapes alone, a trace; cuda: profile on the GPU, durations by kernel class.",
)
@click.option("--rlp", type=WholeNumbers(), default="1,4,16,64", show_default=True, help="cuda: requests.")
@click.option("--tlp", type=WholeNumbers(), default="1,4", show_default=True, help="cuda: new tokens per request.")
@click.option(
    "--kv", type=WholeNumbers(), default="512,1024", show_default=True, help="cuda: cached tokens per request."
)
@click.option("--layers", type=PositiveInt(), help="cuda: run a slice of N layers.")
@click.option("--traces", type=click.Path(path_type=Path, file_okay=False), help="cuda: keep the profiler's traces.")
@click.option(
    "--from-profiler",
    "profile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Import a Kineto/Chrome trace made with record_shapes=True instead: GPU time by kernel class.",
)
@format_option("table", "json", "csv")
@quiet_option
def command(
    *, model: str | None, out: Path | None, force: bool, device: str, rlp: tuple[int, ...], tlp: tuple[int, ...],
    kv: tuple[int, ...], layers: int | None, traces: Path | None, profile: Path | None, output: str, quiet: bool,
) -> None:  # fmt: skip
    """Record one decode iteration of MODEL and write it as a kernel trace, or as durations on a GPU.

    MODEL is a shipped name, a config.json or its folder, or an architecture that transformers carries (its default
    configuration is captured). The model runs on meta tensors: no weights are needed and none are allocated. The path of
    the trace goes to stdout, progress to stderr. Needs the extra: pip install 'papisim[capture]'.

    With --device cuda the model runs on the GPU under torch's profiler, at every (RLP, TLP, KV) of a grid; the GPU time
    of each kernel class is written to a table. --from-profiler reads the trace of any run, also of a serving
    engine, and prints GPU time by kernel class; it needs neither MODEL nor torch.

    \b
    Example:
      papisim capture llama7b --out my-traces/llama7b
      papisim capture --from-profiler trace.json.gz
    """
    if (model is None) == (profile is None):
        raise click.UsageError("give a MODEL, or --from-profiler FILE")
    if profile is not None:
        show_import(profile, output, quiet=quiet)
        return
    require_torch()
    source = resolve(str(model))

    def progress(line: str) -> None:
        if not quiet:
            click.echo(f"papisim: {line}", err=True)

    if device == "cuda":
        click.echo(profile_grid(source, Grid(rlp, tlp, kv, layers), out, traces, progress, force=force))
    else:
        click.echo(write_trace(str(model), out, force=force, progress=progress))
