"""Write papisim/uncertainty/measured.yaml: errors of the GPU and link models over measured tables, by class.

Arguments are folders with further tables, such as that of ``papisim validate --fetch``; the shipped ones always count.
"""

import sys
from pathlib import Path

from papisim import catalog, uncertainty
from papisim.calibration.gpu.tables import read_tables
from papisim.catalog import Shelf
from papisim.config.system import load_part
from papisim.config.yaml import dump
from papisim.uncertainty.evidence import SCHEMA
from papisim.validation.evidence import judge, measured_rows

DESCRIPTION = "truth over model, quantiles 5, 50 and 95 %, by scripts/uncertainty.py from measured tables; kernels one by one, and in groups that share their error"


def main(folders: list[Path]) -> None:
    """Judge the GPU parts that have tables, and write the quantiles."""
    parts = {name: load_part(name).part for name in catalog.shipped(Shelf.DEVICE)}
    gpus = {name: part for name, part in parts.items() if part.kind == "gpu"}
    tables = read_tables([catalog.data_folder() / "kernels" / "measured", *folders], gpus)
    judged = {name: part for name, part in gpus.items() if any(table.gpu == name for table in tables)}
    rows = [row.model_dump(mode="json") for row in measured_rows(judge(judged, tables))]
    head = dump({"schema": SCHEMA, "description": DESCRIPTION})
    lines = [f"- {dump({'row': [row]}).removeprefix('row: [').rstrip()[:-1]}" for row in rows]
    text = "\n".join([f"{head}measured:", *lines, ""])
    Path(uncertainty.__file__).with_name("measured.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
