"""Write the page of speculation policies from their own words and the bench: ``speculation_table.py docs/dse/speculation_policies.csv``.

What a policy decides is the first line of its module, what it sees is watched while it plans and learns, when it wins is in the bench's frame
(``speculation_policies.py``). The page and the figure are written beside the frame.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.sections import load_section
from papisim.policies.speculation.base import SPECULATION, Draft, Proposal, Round, SpeculationOptions
from papisim.policies.speculation.whole_batch import WholeBatch

SETTING = ["machine", "model", "acceptance", "batch", "seed"]
#: values that are measured when an experiment is loaded
MEASURED = {"sssd": {"ratio": 100}, "synergy": {"table": [{"up_to_batch": 4, "length": 3}]}}
#: what a field of the view is called on the page
SEEN = {
    "rlp": "batch size",
    "price_s": "price of candidates",
    "cached": "context",
    "tokens_left": "tokens left",
    "n_layers": "layers",
    "iteration": "iteration",
}
_NEAR = 0.01  # of the best policy


class Watched:
    """A view of four requests that notes which of its fields are looked at."""

    def __init__(self) -> None:
        self.looked: set[str] = set()
        self._fields = {
            "iteration": 0,
            "requests": (0, 1, 2, 3),
            "rlp": 4,
            "n_layers": 32,
            "tokens_left": (90,) * 4,
            "cached": (512,) * 4,
            "price_s": lambda drafts: 1.0 + 0.05 * sum(draft.rows for draft in drafts),
        }

    def __getattr__(self, name: str) -> object:
        self.looked.add(name)
        return self._fields[name]


def rounds(drafts: list[Draft], share: float) -> list[Round]:
    """Return rounds in which a share of each draft is accepted."""
    return [
        Round(place, draft, int(share * draft.length), (0.9,) * draft.length, (0.1,) * draft.length)
        for place, draft in enumerate(drafts)
    ]


def sees(options: SpeculationOptions) -> str:
    """Return the things that a policy looks at, as the page names them."""
    policy, view = SPECULATION.build(options), Watched()
    signals = sorted(options.signals)
    if "layers" in signals:
        return "exit layers' agreement and confidence"
    plans = {}
    for share in (0.0, 1.0):
        policy = SPECULATION.build(options)
        for _ in range(40):
            drafts = policy.plan(view)  # type: ignore[arg-type] # has the view's fields
            policy.cut(range(4), drafts, [Proposal((0.9,) * each.length, (0.3,) * each.length) for each in drafts])
            policy.observe(rounds(drafts, share))
        plans[share] = policy.plan(view)  # type: ignore[arg-type]
    found = [SEEN[name] for name in SEEN if name in view.looked and (name != "rlp" or policy.steady_tlp is None)]
    if isinstance(policy, WholeBatch):
        found = ["price or time of iterations" if name == SEEN["price_s"] else name for name in found]
    if plans[0.0] != plans[1.0] or isinstance(policy, WholeBatch):
        found.append("accepted drafts of the batch" if policy.learns_from_all else "accepted drafts of each request")
    return ", ".join([*found, *signals]) or "nothing"


def decides(kind: str) -> str:
    """Return the first sentence of a policy's module."""
    words = (importlib.import_module(f"papisim.policies.speculation.{kind}").__doc__ or "").split("\n\n")[0]
    return " ".join(words.split()).partition(": ")[2].rstrip(".") or " ".join(words.split()).rstrip(".")


def wins(frame: pd.DataFrame, name: str) -> list[str]:
    """Return the columns of a policy that say how it does: its mean and least ratio, its best batch, and how often it is near the best."""
    own = frame[frame.policy == name]
    if own.empty:
        return ["", "", "", ""]
    best = frame[~frame.policy.str.startswith(("fixed", "oracle"))].groupby(SETTING).over_best_fixed.max()
    mine = own.set_index(SETTING).over_best_fixed
    near = (mine >= best.reindex(mine.index) * (1 - _NEAR)).mean()
    by_batch = own.groupby("batch").over_best_fixed.mean()
    return [
        f"{own.over_best_fixed.mean():.3f}",
        f"{own.over_best_fixed.min():.3f}",
        f"{by_batch.idxmax()} ({by_batch.max():.3f})",
        f"{near:.0%}",
    ]


def page(frame: pd.DataFrame) -> str:
    """Return the page's text."""
    settings = frame.groupby(SETTING).ngroups
    played = frame.groupby("policy").size()
    fewer = sorted(played[played < settings].index)
    partly = f" In {played[fewer].max()} of them alone: {', '.join(f'`{name}`' for name in fewer)}." if fewer else ""
    lines = [
        "# Which speculation policy",
        "",
        "<!-- written by scripts/dse/speculation_table.py from docs/dse/speculation_policies.csv -->",
        "",
        f"Every shipped policy with a chain of drafts, in {settings} settings: machines {', '.join(frame.machine.unique())}; models "
        f"{', '.join(frame.model.unique())}; acceptance fitted to {frame.acceptance.nunique()} logs; batches of "
        f"{', '.join(map(str, frame.batch.unique()))}, each with a seed of its own; EAGLE head, 1,024 cached tokens.{partly} No policy drafts more than 8. A batch stays full for 300 iterations, too few for bandits to repay all they try; all policies meet "
        "the same requests. *Mean* and *least* are tokens per second over those of the best fixed length of 0 to 8 in hindsight, which no policy knows. "
        "*Near the best*: share of the settings in which the policy is within 1 % of the best policy. `oracle` knows each request's acceptance process up to the last round and "
        "searches as `co_scheduled` does: the gap to it is what a better estimate could earn.",
        "",
        "![tokens per second over those of the best fixed length](speculation_policies.png)",
        "",
        "| policy | sees | decides | mean | least | best batch | near the best |",
        "|---|---|---|---|---|---|---|",
    ]
    names = list(catalog.shipped(Shelf.SPECULATION))
    kinds = {
        name: load_section("speculation", name, fields=MEASURED.get(name, {})).options for name in ["off", *names]
    }
    rows = [
        (f"`{name}`", sees(options), decides(options.kind), *wins(frame, name)) for name, options in kinds.items()
    ]
    rows.append(("`oracle`", "each request's process", "as `co_scheduled`", *wins(frame, "oracle")))
    rows.sort(key=lambda row: row[3], reverse=True)
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += [
        "",
        "Policies without figures need exit layers, a draft tree, or a table of one machine that `papisim calibrate speculation` finds, or are presets of a kind that has them.",
        "",
    ]
    return "\n".join(lines)


def figure(frame: pd.DataFrame, path: Path) -> None:
    """Draw each policy's ratios: mean, and the range of the settings."""
    ratios = frame[~frame.policy.str.startswith("fixed")].groupby("policy").over_best_fixed
    stats = ratios.agg(["mean", "min", "max"]).sort_values("mean")
    chart, axes = plt.subplots(figsize=(7, 0.3 * len(stats) + 0.8))
    axes.hlines(stats.index, stats["min"], stats["max"], color="0.7")
    axes.plot(stats["mean"], stats.index, "o", color="black", markersize=4)
    axes.axvline(1, color="0.4", linewidth=0.8)
    axes.set_xlabel("tokens per second over those of the best fixed length in hindsight")
    chart.tight_layout()
    chart.savefig(path, dpi=110)


def main() -> None:
    """Write page and figure beside the frame."""
    path = Path(sys.argv[1])
    frame = pd.read_csv(path)
    figure(frame, path.with_suffix(".png"))
    path.with_suffix(".md").write_text(page(frame), encoding="utf-8")


if __name__ == "__main__":
    main()
