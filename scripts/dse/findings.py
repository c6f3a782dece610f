"""Print what the frame of a sweep answers to its question: ``findings.py results/dse/NAME``, or several."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

CONTEXT = "workload.lengths.input_tokens"
RATE = "decode_tokens_per_s"

#: designs slower than the fastest by more than this at every batch are not listed
_NEAR = 1.3


def read(folder: Path) -> pd.DataFrame:
    """Return a sweep's frame; what is infeasible has no figures."""
    return pd.read_csv(folder / "frame.csv")


def _table(frame: pd.DataFrame, value: str, rows: list[str], columns: list[str]) -> pd.DataFrame:
    return frame.pivot_table(index=rows, columns=columns, values=value, aggfunc="first", sort=False)


def _over(table: pd.DataFrame, first: pd.Series) -> pd.DataFrame:
    return table.div(first, axis=0)


def pim_devices(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tokens/s over the number of FC-PIM stacks, and the best one."""
    rates = _table(frame, RATE, ["n_fc"], [CONTEXT, "batch"])
    best = pd.DataFrame({"best n_fc": rates.idxmax(), "over 30": rates.max() / rates.loc[30]})
    return {"tokens/s of decoding, by context and batch": rates, "best": best}


def alpha(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tokens/s with each α over that with the best, and the best by link."""
    links = ["links.pcie.part", "links.nvlink.part"]
    rates = _table(frame, RATE, ["trace", *links], ["placement.alpha"])
    losses = 100 * (1 - _over(rates, rates.max(axis=1)))
    return {"% lost against the best α": losses, "best α": rates.idxmax(axis=1).unstack(links)}


def attention_link(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tokens/s over those with CXL, and the shares of communication and of the link."""
    rows, columns = ["trace", "links.pcie.count", "batch", "tlp"], ["links.pcie.part"]
    rates = _table(frame, RATE, rows, columns)
    shares = 100 * _table(frame, "communication_ratio", rows, columns)
    links = 100 * _table(frame, "attention_link_ratio", rows, columns)
    return {
        "tokens/s over CXL": _over(rates, rates["cxl3_x16"]),
        "communication, % of decoding": shares,
        "the link to Attn-PIM, % of the run": links,
    }


def tlp_policy(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tokens/s over those without speculation, and tokens in flight."""
    library = frame["devices.gpu.part.attention.use"].fillna("")
    named = frame.copy().assign(policy=frame.speculation.map(_short), machine=(frame.hw + " " + library).str.strip())
    rates = _table(named, RATE, ["machine", CONTEXT, "batch"], ["policy"])
    flying = _table(named, "tlp_mean", ["machine", CONTEXT, "batch"], ["policy"])
    return {"tokens/s over none": _over(rates, rates["off"]), "tokens of a request in flight": flying}


def _short(policy: str) -> str:
    return policy.replace('{"kind": "fixed", "tlp": ', "fixed ").rstrip("}")


def gpu_generation(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tokens/s by placement, and what FC-PIM adds to the GPUs."""
    rates = _table(frame, RATE, ["devices.gpu.part", "batch"], ["placement"])
    rates["FC-PIM adds"] = rates["cheapest"] / rates["pinned:gpu"]
    rates["GPU adds"] = rates["cheapest"] / rates["pinned:fc_pim"]
    return {"tokens/s of decoding": rates}


def hbm_generation(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tokens/s over HBM3 everywhere."""
    machine = ["devices.fc_pim.part", "fpus_of_fc", "devices.attn_pim.part", "devices.attn_pim.count"]
    counts = frame["devices.attn_pim.count"].fillna(60).astype(int)
    rates = _table(frame.assign(**{"devices.attn_pim.count": counts}), RATE, machine, [CONTEXT, "batch"])
    return {"tokens/s over HBM3 with 4P1B": rates / rates.iloc[0]}


def moe_dense(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tokens/s by machine, and what PIM adds to GPUs."""
    named = frame.assign(machine=frame.hw + (" " + frame.placement).fillna(""))
    rates = _table(named, RATE, ["trace", "batch"], ["machine"])
    rates["PAPI over GPUs"] = rates["papi cheapest"] / rates["gpu_only"]
    return {"tokens/s of decoding": rates}


def long_context(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tokens/s by context and batch; nothing where caches do not fit."""
    heads = frame["devices.attn_pim.part.channels_per_head"]
    named = frame.assign(machine=frame.hw + heads.map(lambda n: "" if pd.isna(n) else f", {n:g} channels a head"))
    rates = _table(named, RATE, [CONTEXT, "batch"], ["machine"])
    shares = 100 * _table(named, "attention_ratio", [CONTEXT, "batch"], ["machine"])
    return {"tokens/s of decoding": rates, "attention, % of decoding": shares}


def quantised(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tokens/s over FP16."""
    bits = ["quantisation.weight_bits", "quantisation.kv_bits"]
    rates = _table(frame, RATE, ["hw", "batch"], bits)
    return {"tokens/s over 16 and 16 bits": rates.div(rates[16, 16], axis=0)}


def fpu_banks(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The fastest designs of each kind of stack by batch, and what they take of the die and the cube."""
    ok = frame.dropna(subset="step_s")
    design = ["fpus_per_bank", "banks_per_die"]
    limits = ok.groupby(["stack", *design])[["die_mm2", "fed_w"]].first()
    tables = {"mm² of a die, and W of a cube whose FPUs never wait": limits}
    for (stack, budget), rows in ok.groupby(["stack", "budget"], sort=False):
        papi = {"fc_pim": (4, 96), "attn_pim": (0.5, 128)}[stack]
        times = _table(rows, "step_s", design, ["batch"])
        slower = times / times.min()
        tables[f"{stack}, {budget}: time over the fastest"] = slower[slower.min(axis=1) < _NEAR]
        tables[f"{stack}, {budget}: time of PAPI's {papi[0]:g} on {papi[1]} over the fastest"] = slower.loc[[papi]]
    return tables


def energy_tables(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Time of FC over the fastest design's with each energy table, of all designs and of those that are never throttled."""
    ok = frame.dropna(subset="step_s")
    design = ["fpus_per_bank", "banks_per_die"]
    tables = {}
    for table, rows in ok.groupby("table", sort=False):
        limits = rows.groupby(design, sort=False)[["die_mm2", "fed_w"]].first()
        for title, kept in (("all", rows), ("never throttled", rows[rows["never_throttled"] > 0])):
            times = _table(kept, "step_s", design, ["batch"])
            slower = times / times.min()
            tables[f"{table}, {title}: time over the fastest"] = slower[slower.min(axis=1) < _NEAR].join(limits)
    return tables


QUESTIONS: dict[str, Callable[[pd.DataFrame], dict[str, pd.DataFrame]]] = {
    answer.__name__: answer
    for answer in (
        pim_devices, alpha, attention_link, tlp_policy, gpu_generation, hbm_generation, moe_dense, long_context, quantised,
        fpu_banks, energy_tables,
    )
}  # fmt: skip


def main(folders: list[str]) -> None:
    """Print the tables of each folder, which has the name of its question."""
    pd.set_option("display.width", 200, "display.max_columns", None, "display.max_rows", None)
    for folder in map(Path, folders):
        answer = QUESTIONS.get(folder.name)
        for title, table in answer(read(folder)).items() if answer else ():
            print(f"\n{folder.name}: {title}\n{table.round(3).to_string(na_rep='-')}")


if __name__ == "__main__":
    main(sys.argv[1:])
