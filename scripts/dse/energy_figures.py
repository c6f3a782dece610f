"""Print PAPI's Figures 7 to 9 and its α with several energy tables, as CSV: ``energy_figures.py > docs/dse/energy_tables.csv``."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from typing import NamedTuple

from papisim.calibration.alpha import best_alpha, profile
from papisim.catalog import Shelf, find
from papisim.config.system import load_system
from papisim.devices.pim import Pool
from papisim.devices.pim.energy import column_energy, fed_w
from papisim.ops.trace import read_trace
from papisim.paper.choices import Assignments
from papisim.paper.figure import choose
from papisim.paper.reproduce import reproduce
from papisim.paper.runner import Lab

_REUSES = (1, 2, 4, 8, 64)
_MODELS = ("llama65b", "gpt3-66b", "gpt3-175b", "llama3-8b")
_ROWS = 256


class Setting(NamedTuple):
    """Energies of all PIM stacks: a table's name, and assignments to its fields."""

    name: str
    fields: dict[str, str]

    def of(self, *devices: str) -> tuple[str, ...]:
        """Return the assignments for devices of a system."""
        table, *_ = self.name.split(" ")
        return tuple(
            assignment
            for device in devices
            for assignment in (
                f"devices.{device}.part.energy={table}",
                *(f"devices.{device}.part.energy.{field}={value}" for field, value in self.fields.items()),
            )
        )


_SETTINGS = (
    Setting("fgdram2017", {}),
    Setting("hbm3e_measured", {}),
    # the sum of column and data path was measured and not the split: once with FGDRAM's column, once with all that no data change
    Setting("hbm3e_measured light_bank", {"column_j_per_byte": "1.45 pJ/b", "data_path_j_per_byte": "2.68 pJ/b"}),
    Setting("hbm3e_measured heavy_bank", {"column_j_per_byte": "3.41 pJ/b", "data_path_j_per_byte": "0.72 pJ/b"}),
)


def _figure_7(setting: Setting) -> Iterator[tuple[str, str, float]]:
    system = load_system("papi", setting.of("fc_pim", "attn_pim"))
    for device in ("fc_pim", "attn_pim"):
        part = system.parts[device]
        pool = Pool(device, part, 1)
        for reuse in _REUSES:
            energy = column_energy(reuse, part.energy, part.organisation, part.fpu)
            dram = (energy.dram_activation_j + energy.dram_access_j) / energy.total_j
            yield "fig7", f"{device} DRAM share at reuse {reuse}", dram
            yield "fig7", f"{device} fed_w at reuse {reuse}", fed_w(reuse, part.energy, part.organisation, part.fpu)
            yield "fig7", f"{device} cycles per column at reuse {reuse}", pool.occupancy(reuse)
    attacc = load_system("attacc_only", setting.of("fc_pim")).parts["fc_pim"]
    yield "fig7", "attacc fed_w at reuse 1", fed_w(1, attacc.energy, attacc.organisation, attacc.fpu)
    yield "fig7", "attacc cycles per column at reuse 1", Pool("attacc", attacc, 1).column_gap(1)


def _figures_8_and_9(setting: Setting) -> Iterator[tuple[str, str, float]]:
    paper = choose(("fig8", "fig9"), "papi")
    choices = paper.choices
    further: Assignments = {
        system: setting.of("attn_pim", *(("fc_pim",) if system in choices.groups["fc_on_pim"] else ()))
        for system in choices.groups["all"]
    }
    for figure in reproduce(Lab(choices, 1), paper, choices.interpretation("physical"), further):
        for row in figure.rows:
            if row.simulated is not None:
                yield figure.name, row.claim, row.simulated


def _alpha(setting: Setting) -> Iterator[tuple[str, str, float]]:
    system = load_system("papi", setting.of("fc_pim", "attn_pim"))
    for model in _MODELS:
        trace = read_trace(find(Shelf.TRACE, model).path)
        yield "alpha", model, best_alpha(profile(system, trace, _ROWS))


def main() -> None:
    """Write one row per setting and figure."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["energies", "figure", "what", "value"])
    for setting in _SETTINGS:
        for part in (_figure_7, _alpha, _figures_8_and_9):
            for figure, what, value in part(setting):
                writer.writerow([setting.name, figure, what, f"{value:.5g}"])
                sys.stdout.flush()


if __name__ == "__main__":
    main()
