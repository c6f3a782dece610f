"""Write papisim/uncertainty/measured.yaml: errors of the GPU and link models over measured tables, by class.

Arguments are folders with further tables, such as that of ``papisim validate --fetch``; the shipped ones always count. ``--serving FILE`` names the
``serving.csv`` that ``papisim validate --serving TABLE --out`` wrote, ``--engine DIR`` the logs of an engine with profiled steps.
"""

import argparse
from pathlib import Path

from papisim import catalog, uncertainty
from papisim.calibration.engine.log import read_log
from papisim.calibration.gpu.tables import read_tables
from papisim.catalog import Shelf
from papisim.config.system import load_part
from papisim.config.yaml import dump
from papisim.uncertainty.evidence import SCHEMA
from papisim.validation.engine import Comparison
from papisim.validation.evidence import judge, measured_rows, served_rows, step_row
from papisim.validation.served import Simulator
from papisim.validation.serving import read_predictions

DESCRIPTION = "truth over model, quantiles 5, 50 and 95 %, by scripts/uncertainty.py from measured tables; kernels one by one, and in groups that share their error"


def main(folders: list[Path], serving: Path, engine: Path) -> None:
    """Judge the GPU parts that have tables, and write the quantiles."""
    parts = {name: load_part(name).part for name in catalog.shipped(Shelf.DEVICE)}
    gpus = {name: part for name, part in parts.items() if part.kind == "gpu"}
    tables = read_tables([catalog.data_folder() / "kernels" / "measured", *folders], gpus)
    judged = {name: part for name, part in gpus.items() if any(table.gpu == name for table in tables)}
    rows = [row.model_dump(mode="json") for row in measured_rows(judge(judged, tables))]
    served = [
        row.model_dump(mode="json") for row in served_rows(read_predictions(serving), "silicon/end_to_end.csv.gz")
    ]
    profiled = Comparison(read_log(engine), Simulator(None, None, "vllm")).profiled
    served.append(step_row(profiled, "engine/profile.csv.gz").model_dump(mode="json"))
    head = dump({"schema": SCHEMA, "description": DESCRIPTION})
    text = "\n".join([f"{head}measured:", *map(line, rows), "served:", *map(line, served), ""])
    Path(uncertainty.__file__).with_name("measured.yaml").write_text(text, encoding="utf-8")


def line(row: dict[str, object]) -> str:
    """Return a row as one line of a list."""
    return f"- {dump({'row': [row]}).removeprefix('row: [').rstrip()[:-1]}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--serving", type=Path, required=True)
    parser.add_argument("--engine", type=Path, required=True)
    main(**vars(parser.parse_args()))
