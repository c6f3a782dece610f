"""Tables, figure and page of the study of operators, from the frames that operators.py writes.

``operators_page.py FRAMES`` writes docs/dse/operators/*.csv, docs/dse/operators.png and docs/dse/operators.md. The page is made of the tables
alone, numbers in its sentences included.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

PAGE = Path(__file__).parents[2] / "docs" / "dse" / "operators.md"
TABLES = PAGE.with_suffix("")
#: models by the class of their attention; query heads per KV head, times 1.9 for latents, of which V is a part
MODELS = {
    "llama7b": ("MHA", 1.0), "llama65b": ("MHA", 1.0), "llama3-8b": ("GQA 4", 4.0), "qwen3-32b": ("GQA 8", 8.0), "llama3-70b": ("GQA 8", 8.0),
    "mixtral-8x7b": ("MoE, GQA 4", 4.0), "qwen3-30b-a3b": ("MoE, GQA 8", 8.0), "gpt-oss-120b": ("MoE, GQA 8", 8.0), "deepseek-v3": ("MoE, MLA", 242.0),
}  # fmt: skip
LEVELS = {"static_s": "static", "papi_s": "PAPI", "attention_s": "+ attention", "operators_s": "papi_operators"}
#: machines on which every operator has both sides
_MOVING = ("papi_attached", "h200_hbmpim", "saddle")
_INTENSITIES = (1, 2, 4, 8, 16, 32, 64, 128, 1 << 20)
#: the horizon in iterations that the answer is about
_HORIZON = 10
#: no horizon; no number of switches, which are not counted where they are free
_NONE = "–"
#: batches from which on a step counts as one of a large batch
_LARGE = 64

#: difference in per cent up to which times are the same
_SAME = 1e-7

Tables = dict[str, pd.DataFrame]


def mean_ratio(ratios: pd.Series) -> float:
    """Return the geometric mean of quotients."""
    return float(np.exp(np.log(ratios).mean()))


def static(rows: pd.DataFrame) -> pd.Series:
    """Return the seconds of each step of a model on a machine under its best static mapping.

    A mapping is the device of each operator, the same at every point; the best has the least mean slow-down. Operators follow one another,
    so that a mapping takes the time of all at home and the differences of those that are not.
    """
    home = rows["static home"]
    moves: dict[str, list[pd.Series]] = {}
    for column in rows:
        name = str(column).removeprefix("static ")
        if "=" in name and rows[column].notna().all():
            moves.setdefault(name.partition("=")[0], [home * 0]).append(rows[column] - home)
    mappings = [home + sum(moved) for moved in product(*moves.values())]
    return min(mappings, key=lambda each: mean_ratio(each / rows["oracle_s"]))


def with_static(grid: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of steps with the best static mapping, all operators on GPUs, and the class of each model."""
    parts = []
    for _, rows in grid.groupby(["machine", "model"], sort=False):
        own = rows.dropna(axis=1, how="all").copy()
        own["static_s"] = static(own)
        own["gpu_s"] = all_on(own, "gpu")
        parts.append(own)
    frame = pd.concat(parts, ignore_index=True)
    frame["attention"] = [MODELS[model][0] for model in frame["model"]]
    frame["intensity"] = frame["tlp"] * [MODELS[model][1] for model in frame["model"]]
    return frame


def all_on(rows: pd.DataFrame, device: str) -> pd.Series:
    """Return the seconds of each step with every operator that can run on a device there."""
    home = rows["static home"]
    columns = [column for column in rows if str(column).startswith("static ") and str(column).endswith(f"={device}")]
    return home + sum((rows[column] - home for column in columns), home * 0)


def levels(grid: pd.DataFrame) -> pd.DataFrame:
    """Return the time over the oracle's by class of attention, machine and level: geometric means."""
    rows = []
    for (attention, machine), own in grid.groupby(["attention", "machine"], sort=False):
        means = {name: mean_ratio(own[column] / own["oracle_s"]) for column, name in LEVELS.items()}
        rows.append({"attention": attention, "machine": machine, "points": len(own), **means})
    return pd.DataFrame(rows)


def accuracy(grid: pd.DataFrame, between: pd.DataFrame) -> pd.DataFrame:
    """Return the excess of ``papi_operators`` over the oracle, in per cent, on the grid and between its points."""
    rows = []
    for machine, own in grid.groupby("machine", sort=False):
        row: dict[str, object] = {"machine": machine, "models": own["model"].nunique()}
        for name, frame in (("grid", own), ("between", between[between["machine"] == machine])):
            loss = 100 * (frame["operators_s"] / frame["oracle_s"] - 1)
            worst = frame.loc[loss.idxmax()]
            where = f"{worst['model']}, batch {worst['rlp']}, TLP {worst['tlp']}, {worst['cached']:,} tokens"
            row |= {f"{name} points": len(frame), f"{name} mean, %": loss.mean(), f"{name} worst, %": loss.max(), f"{name} worst at": where}  # fmt: skip
        beaten = 100 * (1 - pd.concat([own, between[between["machine"] == machine]]).eval("operators_s / oracle_s"))
        row |= {"oracle beaten, points": int((beaten > _SAME).sum()), "by at most, %": max(0.0, float(beaten.max()))}
        rows.append(row)
    return pd.DataFrame(rows)


def pays(grid: pd.DataFrame) -> pd.DataFrame:
    """Return the time with all operators on GPUs over the oracle's, by machine, class and batch: geometric means."""
    moving = grid[grid["machine"].isin(_MOVING)]
    gains = (moving["gpu_s"] / moving["oracle_s"]).groupby(
        [moving["machine"], moving["attention"], moving["rlp"]], sort=False
    )
    table = gains.agg(mean_ratio).unstack("rlp").reset_index()
    return table.rename(columns={batch: f"batch {batch}" for batch in table if isinstance(batch, (int, np.integer))})


def sides(grid: pd.DataFrame) -> pd.DataFrame:
    """Return the share of points at which the oracle has attention on PIM, in per cent, by intensity, machine and size of the batch."""
    moving = grid[grid["machine"].isin(_MOVING)]
    on_pim = 100.0 * (moving["attention_on"] != "gpu")
    band = pd.cut(
        moving["intensity"], _INTENSITIES, right=False, labels=[*map(_band, _INTENSITIES, _INTENSITIES[1:])]
    )
    size = np.where(moving["rlp"] < _LARGE, f"batch < {_LARGE}", f"batch ≥ {_LARGE}")
    table = on_pim.groupby([band, moving["machine"], size], observed=True).mean().unstack([1, 2])
    table.columns = [f"{machine}, {size}" for machine, size in table.columns]
    ordered = [f"{machine}, batch {sign} {_LARGE}" for machine in _MOVING for sign in ("<", "≥")]
    return table[ordered].rename_axis("intensity").reset_index()


def _band(low: int, high: int) -> str:
    return f"≥ {low}" if high == _INTENSITIES[-1] else str(low) if high == low + 1 else f"{low} to {high - 1}"


def designs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return area, power and times of Attn-PIMs by FPUs per bank and group: of attention on PIM, and of steps, over 1P2B."""
    names = {"llama7b": "1", "llama3-8b": "4", "mixtral-8x7b": "4", "qwen3-32b": "8", "qwen3-30b-a3b": "8"}
    point = ["model", "rlp", "tlp", "cached"]
    first = frame[frame["fpus_per_bank"] == frame["fpus_per_bank"].min()].set_index(point)
    rows = []
    for design, own in frame.groupby("fpus_per_bank"):
        here = own.set_index(point)
        group = here.index.get_level_values("model").map(names)
        row: dict[str, object] = {"FPUs per bank": design} | {
            name: own[column].iloc[0]
            for name, column in {"banks per die": "banks_per_die", "mm² per die": "die_mm2", "GiB": "capacity_gib", "W, reuse 1": "fed_w", "W, reuse 4": "fed_4_w"}.items()
        }  # fmt: skip
        for each in ("1", "4", "8"):
            mine = group == each
            row[f"attention, group {each}"] = mean_ratio((here["attention_pim_s"] / first["attention_pim_s"])[mine])
        for each in ("1", "4", "8"):
            mine = group == each
            row[f"on PIM, group {each}, %"] = 100 * float((here["pim_s"] < here["gpu_s"])[mine].mean())
        for each in ("1", "4", "8"):
            mine = group == each
            row[f"step gain, group {each}"] = mean_ratio((first["best_s"] / here["best_s"])[mine])
        rows.append(row)
    return pd.DataFrame(rows)


def drafts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the time of iterations with a draft model that stays on the GPUs over those with one elsewhere: geometric means."""
    names = {
        "operators": "home GPUs, papi_operators", "oracle": "home GPUs, oracle", "pim": "on PIM", "pim_oracle": "home PIM, oracle",
    }  # fmt: skip
    rows = []
    for (machine, model, draft), own in frame.groupby(["machine", "model", "draft"], sort=False):
        default = own["verify_s"] + own["gpu_s"]
        gains = {name: mean_ratio(default / (own["verify_s"] + own[f"{column}_s"])) for column, name in names.items()}
        share = 100 * float((own["gpu_s"] / default).mean())
        rows.append(
            {
                "machine": machine,
                "target": model,
                "draft": draft,
                "points": len(own),
                "drafting on GPUs, % of time": share,
                **gains,
            }
        )
    return pd.DataFrame(rows)


def asynchronous(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the tokens per second of decoding with drafts beside verification over those in turn, and the best draft lengths."""
    table = frame[["machine", "draft_on", "batch"]].rename(columns={"draft_on": "draft on"})
    table["in turn, tokens/s"] = frame["synchronous_tokens_per_s"]
    table["drafts in turn"] = frame["synchronous_drafts"]
    for name in ("shared pool", "eager", "both"):
        table[name] = frame[f"{name}_tokens_per_s"] / frame["synchronous_tokens_per_s"]
        table[f"{name}, drafts"] = frame[f"{name}_drafts"]
    return table


def hysteresis(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the times of a token and of the first one, the makespan and the switches by rate of requests, price of a switch and horizon."""
    names = {
        "rate_per_s": "requests/s", "machine": "machine", "horizon_iterations": "horizon, iterations", "n_switches": "switches",
        "tpot_mean_s": "TPOT, ms", "ttft_mean_s": "TTFT, ms", "makespan_s": "makespan, s",
    }  # fmt: skip
    table = frame[[*names]].rename(columns=names)
    table[["TPOT, ms", "TTFT, ms"]] *= 1e3
    table["horizon, iterations"] = [
        _NONE if np.isnan(each) else f"{each:.0f}" for each in table["horizon, iterations"]
    ]
    free = table["machine"] == "saddle"
    table["switches"] = [_NONE if is_free else str(n) for is_free, n in zip(free, table["switches"], strict=True)]
    return table


def tables(frames: Path) -> Tables:
    """Return the tables of the page."""
    grid, between = (with_static(pd.read_csv(frames / f"{name}.csv")) for name in ("grid", "between"))
    made = {
        "levels": levels(grid), "accuracy": accuracy(grid, between), "pays": pays(grid), "sides": sides(grid),
        "designs": designs(pd.read_csv(frames / "designs.csv")), "drafts": drafts(pd.read_csv(frames / "drafts.csv")),
        "asynchronous": asynchronous(pd.read_csv(frames / "asynchronous.csv")),
        "hysteresis": hysteresis(pd.read_csv(frames / "hysteresis.csv")),
    }  # fmt: skip
    draw(grid, PAGE.with_suffix(".png"))
    return made


def draw(grid: pd.DataFrame, file: Path) -> None:
    """Draw the share of points that take at most a multiple of the oracle's time, by level and machine."""
    from papisim.report.print.canvas import canvas, save  # noqa: PLC0415 - matplotlib is optional

    figure = canvas(9, 3)
    panels = figure.subplots(1, len(_MOVING), sharey=True)
    colours, dashes = ("#9aa5b1", "#b4501e", "#0b6e99", "#1b7f3b"), (":", "--", "-.", "-")
    for panel, machine in zip(panels, _MOVING, strict=True):
        own = grid[grid["machine"] == machine]
        for (column, name), colour, dash in zip(LEVELS.items(), colours, dashes, strict=True):
            slower = np.sort(own[column] / own["oracle_s"])
            panel.plot(slower, np.arange(1, len(slower) + 1) / len(slower), label=name, color=colour, linestyle=dash)
        panel.set_title(machine, fontsize=10)
        panel.set_xscale("log", base=2)
        panel.set_xlim(0.98, 16)
        panel.set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
        panel.set_xlabel("time over the oracle's")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("share of points")
    panels[-1].legend(fontsize=8, loc="lower right")
    save(figure, [file])


def markdown(table: pd.DataFrame, digits: int = 2) -> str:
    """Return a table as Markdown."""
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    lines += [
        "| " + " | ".join(_cell(value, digits) for value in row) + " |" for row in table.itertuples(index=False)
    ]
    return "\n".join(lines)


def _cell(value: object, digits: int) -> str:
    if isinstance(value, float):
        return (
            "—" if np.isnan(value) else f"{value:,.{digits}f}" if value != int(value) or digits else f"{value:,.0f}"
        )
    return str(value)


def _at(table: pd.DataFrame, column: str, **where: object) -> float:
    """Return the cell of a table in the one row that has given values."""
    for name, value in where.items():
        table = table[table[name] == value]
    (value,) = table[column]
    return float(value)


def _span(values: pd.Series, digits: int = 2) -> str:
    """Return the least and the largest of some values: ``1.02 to 1.35``, or the value if they read alike."""
    low, high = f"{values.min():,.{digits}f}", f"{values.max():,.{digits}f}"
    return low if low == high else f"{low} to {high}"


def _until(sides: pd.DataFrame, column: str) -> str:
    """Return the last band of intensity up to which the oracle has attention on PIM at half of the points or more."""
    below = sides[column] >= 50  # noqa: PLR2004 - half
    last = int(below.cumprod().sum()) - 1
    return str(sides["intensity"].iloc[last]) if last >= 0 else "none"


def answer(made: Tables) -> str:
    """Return the answers to the study's questions."""
    return "\n".join(
        f"- {text}"
        for text in (_levels(made), _drafts(made), _pays(made), _designs(made), _held(made), _accuracy(made))
    )


def _levels(made: Tables) -> str:
    level = made["levels"]
    moving, paper = level[level["machine"].isin(_MOVING)], level[level["machine"] == "papi"]
    heads = moving["attention"] == "MHA"
    return f"""**Attention is worth moving once queries are grouped.** Where a GPU reads the stacks that PIM computes in, PAPI's rule, which
  moves FC alone, takes {_span(moving["PAPI"][~heads])}× the oracle's time with grouped queries, and {_span(moving["PAPI"][heads])}× with a KV head
  per query head (geometric means). The best static mapping takes {_span(moving["static"])}×. With a threshold for attention it is
  {_span(moving["+ attention"])}×, and with thresholds of experts and of roles of FC as well (`papi_operators`) {_span(moving["papi_operators"], 3)}×. On PAPI's own
  machine attention stays: over PCIe nothing but FC has a choice, and PAPI's rule takes {_span(paper["PAPI"], 3)}×."""


def _drafts(made: Tables) -> str:
    draft, beside = made["drafts"], made["asynchronous"]
    moved, bound = draft["home GPUs, papi_operators"], draft["home GPUs, oracle"]
    return f"""**A draft model gains most from a home in PIM.** On the GPUs, the default, drafting takes {_span(draft["drafting on GPUs, % of time"], 0)} % of an
  iteration. Moved from there by `papi_operators` it makes iterations {_span(moved)}× as fast, {_span(bound)}× with the oracle; kept on PIM, which
  then computes its norms, too, without a launch, {_span(draft["on PIM"])}×, and with a home there and the oracle {_span(draft["home PIM, oracle"])}×.
  Drafting beside verification, each schedule with its best draft length, gives {_span(beside["shared pool"])}× the tokens per second of drafting in turn with a
  shared pool, {_span(beside["eager"])}× with eager drafts, and {_span(beside["both"])}× with both: it gains where the draft model has a device of its own and requests are few, and
  loses to wasted drafts and shared devices elsewhere."""


def _pays(made: Tables) -> str:
    gain, sides = made["pays"], made["sides"]
    h200 = gain[(gain["machine"] == "h200_hbmpim") & (gain["attention"] != "MHA")]
    late = pd.concat([h200[f"batch {batch}"] for batch in (16, 64, 256)])
    until = {name: [_until(sides, f"{name}, batch {sign} {_LARGE}") for sign in ("<", "≥")] for name in _MOVING}
    bands = "; ".join(f"`{name}` {few} and {many}" for name, (few, many) in until.items())
    return f"""**PIM pays twice, for FC at small batches and for attention at large ones.** Everything on the GPUs takes {_span(gain["batch 1"])}×
  the oracle's time at batch 1, {_span(gain["batch 16"])}× at 16 and {_span(gain["batch 256"])}× at 256. It stops paying where queries are grouped and the GPU's own
  memory is fast: on eight H200 it is worth {_span(late)}× from batch 16 on. The oracle has attention on PIM at half of the points or more up
  to these bands of intensity (TLP × group), with fewer than {_LARGE} requests and with more: {bands}. A large batch keeps all channels busy."""


def _designs(made: Tables) -> str:
    fpu = made["designs"]
    one, best = (fpu[fpu["FPUs per bank"] == fpus].iloc[0] for fpus in (0.5, 4.0))
    return f"""**An Attn-PIM for grouped queries is an FC-PIM.** {best["FPUs per bank"]:.0f} FPUs per bank on {best["banks per die"]:.0f} banks of a die, {best["mm² per die"]:.0f} of
  121 mm², take {best["attention, group 4"]:.2f}× (groups of 4) and {best["attention, group 8"]:.2f}× (groups of 8) the time of PAPI's 1P2B for attention, and keep attention
  on PIM at {best["on PIM, group 8, %"]:.0f} % of the points with groups of 8 in place of {one["on PIM, group 8, %"]:.0f} %; steps gain {best["step gain, group 4"]:.2f}× and {best["step gain, group 8"]:.2f}×. The price is {best["GiB"]:.0f} GiB of a
  stack in place of {one["GiB"]:.0f}. Power is not in the way: column commands are spaced until a cube stays within 116 W. One FPU per bank keeps all {one["GiB"]:.0f} GiB
  and takes {_at(fpu, "attention, group 8", **{"FPUs per bank": 1.0}):.2f}× (groups of 8)."""


def _held(made: Tables) -> str:
    runs = made["hysteresis"]
    free = runs[runs["machine"] == "saddle"].set_index("requests/s")
    paid = runs[runs["machine"] == "saddle_recapture"]
    followed = paid[paid["horizon, iterations"] == _NONE].set_index("requests/s")
    held = paid[paid["horizon, iterations"] == str(_HORIZON)].set_index("requests/s")
    gain = followed["TPOT, ms"] / held["TPOT, ms"]
    return f"""**Capture graphs beforehand, and there is nothing to hold.** Where every switch captures a CUDA graph (57 ms), a token takes {_span(followed["TPOT, ms"] / free["TPOT, ms"])}× as
  long as where the graphs of both placements are there. To hold operators until a switch pays within {_HORIZON} iterations makes a token {_span(gain)}× as fast and
  the first one {_span(followed["TTFT, ms"] / held["TTFT, ms"])}×, at {_span(held["makespan, s"] / followed["makespan, s"])}× the makespan, and still leaves it at {_span(held["TPOT, ms"] / free["TPOT, ms"])}×."""


def _accuracy(made: Tables) -> str:
    right = made["accuracy"]
    own, others = right[right["machine"] == "papi"].iloc[0], right[right["machine"] != "papi"]
    return f"""**`papi_operators` is the oracle on the grid** where several operators move (worst {others["grid worst, %"].max():.2f} %), and within {others["between worst, %"].max():.1f} % of it between
  the points that it was calibrated at, {others["between mean, %"].max():.3f} % on average at most. On `papi`, where dense models have nothing but FC to move, it is PAPI's rule as the
  paper has it, one α for all FC kernels, whose roles cross at different rows: {own["grid mean, %"]:.2f} % on average and {own["grid worst, %"]:.1f} % at worst on the grid, {own["between worst, %"]:.1f} %
  between. {_beaten(right)}"""


def _beaten(right: pd.DataFrame) -> str:
    beaten, points = (
        int(right["oracle beaten, points"].sum()),
        int(right["grid points"].sum() + right["between points"].sum()),
    )
    if not beaten:
        return f"No policy and no static mapping beats the oracle at any of the {points:,} points."
    return f"The oracle is beaten at {beaten} of {points:,} points, by {right['by at most, %'].max():.2f} % at most."


def page(made: Tables) -> str:
    """Return the page."""
    points = int(made["accuracy"]["grid points"].sum())
    others = int(made["accuracy"]["between points"].sum())
    models, machines = int(made["accuracy"]["models"].max()), len(made["accuracy"])
    return f"""# What does it gain to move each operator, and where does PIM stop paying?

{answer(made)}

```console
$ scripts/dse/run operators                                              # prices steps and calibrates; some 15 minutes of one core
```

The study is [`scripts/dse/operators.py`](../../scripts/dse/operators.py); [`operators_page.py`](../../scripts/dse/operators_page.py) makes this page of its frames. Single
decoding steps are priced, all requests with caches of one length, at batch 1, 4, 16, 64, 256 × TLP 1, 2, 4, 8, 16 × contexts of 512, 2,048,
8,192, 32,768 and 131,072 tokens: by factors of four in batch and context, of two in TLP. Points whose caches do not fit are left out; contexts
beyond what a model was trained for count as sizes. That leaves {points:,} points of {models} models (llama7b; llama3-8b; llama3-70b; mixtral-8x7b;
qwen3-30b-a3b; deepseek-v3, whose weights `h200_hbmpim` alone holds, with PIM units that widen 8 bits) on {machines} machines, and {others:,} more at random between the
points of the calibration. Mixtures of experts are not priced on `saddle`, which is a machine of the same kind as `h200_hbmpim`.

## Findings

![Share of points that take at most a multiple of the oracle's time](operators.png)

### Levels of dynamism

Time over the oracle's, geometric means over batch, TLP and context. `static` is the best mapping that never changes, one per model and machine;
`PAPI` moves FC and experts by RLP × TLP; `+ attention` moves attention by its threshold besides; `papi_operators` has thresholds of experts and of
roles of FC, too.

{markdown(made["levels"])}

`papi_operators` over the oracle, in per cent:

{markdown(made["accuracy"].drop(columns=["grid worst at"]), 3)}

### A draft model

Time of iterations (drafting and verification) with the draft model on the GPUs over that with it elsewhere, at batch 1, 16 and 256, TLP 2 to 16
and contexts of 512 and 8,192. On `papi` and `papi_attached` PIM is `fc_pim`. A draft model's home computes its small kernels; its FC and
attention move from there.

{markdown(made["drafts"])}

Tokens per second of decoding with drafts made beside verification over those in turn, each with the draft length of 1, 2 or 4 at which it is
fastest; llama3-70b with llama32-1b, acceptance of EAGLE-2 on llama3-8b, prompts of 512 and answers of 64 tokens. These are runs, not single
steps. The shared pool is verified as soon as it holds a draft; eager drafts go on from drafts that are being verified.

{markdown(made["asynchronous"])}

### Where PIM stops paying

Time with all operators on the GPUs over the oracle's, geometric means over TLP and context.

{markdown(made["pays"])}

Share of points at which the oracle has attention on PIM, in per cent, by the intensity of attention (TLP × query heads per KV head, in token-rows
per number read).

{markdown(made["sides"], 0)}

### An Attn-PIM for grouped queries

`papi_attached` with other Attn-PIMs in 121 mm² of a die: time of attention on PIM over that of 1P2B, share of points at which PIM is the faster side,
and the gain of a step whose attention goes to the faster side; batch 4 to 256, TLP 1 to 16, contexts of 2,048 and 32,768. `W` is the power of a
cube whose FPUs never wait, at a reuse of 1 and of 4; above 116 W a stack spaces its column commands. Groups of 1: llama7b; of 4: llama3-8b, mixtral-8x7b; of 8:
qwen3-32b, qwen3-30b-a3b.

{markdown(made["designs"])}

### What a switch costs, and whether to hold operators back

llama65b on `saddle`, where switches are free, and on `saddle_recapture`, where each captures a graph: 200 requests at random times, prompts of 64 and answers of 200
tokens on average (log-normal, coefficient of variation 1), up to 64 at a time. A prompt beside decoding exceeds the thresholds of FC, so that FC moves at
each prompt and back. Without a horizon operators follow the thresholds; with one they stay until a switch pays within that many iterations.

{markdown(made["hysteresis"])}

At 4 requests per second nothing helps: what a prompt saves on the GPUs, and what decoding saves on PIM, are both less than a graph per prompt. A captured graph
takes 24 to 28 MB (the same log of vLLM).

## What is not in it

Steps are priced one by one, so a switch costs nothing in them and caches stay in their home; the engine's host is free. One placement is chosen for
all requests of a step, whose caches are equally long. The logic of a PIM stack starts a norm in no time here, where a GPU takes some 3 µs to launch
one: the gain of a draft model at home in PIM rests on that.
"""


def write(frames: Path) -> None:
    """Write the tables, the figure and the page."""
    TABLES.mkdir(exist_ok=True)
    for name, table in tables(frames).items():
        table.to_csv(TABLES / f"{name}.csv", index=False, float_format="%.6g")
    PAGE.write_text(page(read()), encoding="utf-8")


def read() -> Tables:
    """Return the tables that the page is made of."""
    return {file.stem: pd.read_csv(file) for file in sorted(TABLES.glob("*.csv"))}


if __name__ == "__main__":
    write(Path(sys.argv[1]))
