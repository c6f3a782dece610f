"""REPA (ASPLOS 2026) on PAPI: where outputs are long, one unit for two banks attends too slowly, and PAPI falls behind AttAcc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from papisim.config.experiment import load_experiment
from papisim.engine.run import simulate
from papisim.paper.claims import Setup, Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.plan.phase import Category
from papisim.record.steps import DECODING
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="bars",
    x=("model", "batch"),
    y="papi_over_attacc",
    series="input_tokens",
    x_label="model, batch",
    y_label="tokens/s, PAPI over A100+AttAcc",
    line=1.0,
)
_MACHINES = ("papi", "a100_attacc")


class Served(NamedTuple):
    """A batch on a machine.

    Attributes:
        tokens_per_s: tokens over the whole run.
        attention_s: time of attention while decoding.
        message_s: time of messages, all-reduces among them, while decoding.
        decode_s: time of decoding.
    """

    tokens_per_s: float
    attention_s: float
    message_s: float
    decode_s: float


class Point(NamedTuple):
    """A load, on both machines."""

    papi: Served
    attacc: Served

    @property
    def ratio(self) -> float:
        """Throughput of PAPI over that of A100+AttAcc."""
        return self.papi.tokens_per_s / self.attacc.tokens_per_s


#: by setup, batch and tokens of the input
Points = Mapping[tuple[str, int, int], Point]


def served(study: Study) -> Points:
    """Serve batches of equal requests on both machines."""
    return {
        (name, batch, tokens): Point(*(_run(setup, hw, batch, tokens, study.setting("tokens")) for hw in _MACHINES))
        for name, setup in study.published.setups.items()
        for batch in study.setting("batches")
        for tokens in study.setting("inputs")
    }


def values(view: View) -> dict[str, Explained]:
    """Return PAPI's throughput over AttAcc's, its change with the input, and the ratio of their times for attention."""
    points = view.once(served)
    found: dict[str, Explained] = {}
    for name in view.study.published.setups:
        found |= _values(points, name, view.setting("batches"), view.setting("inputs"))
    return found


def table(view: View) -> Table:
    """Return the throughput of PAPI over that of AttAcc, and both shares of attention."""
    return [
        {
            "model": name,
            "batch": batch,
            "input_tokens": tokens,
            "papi_over_attacc": point.ratio,
            "papi_attention_ratio": point.papi.attention_s / point.papi.decode_s,
            "attacc_attention_ratio": point.attacc.attention_s / point.attacc.decode_s,
        }
        for (name, batch, tokens), point in view.once(served).items()
    ]


def _values(points: Points, name: str, batches: list[int], inputs: list[int]) -> dict[str, Explained]:
    largest, short, long = batches[-1], inputs[0], inputs[-1]
    point, other = points[name, largest, short], points[name, largest, long]
    by_batch = ", ".join(f"{points[name, batch, short].ratio:.3f} at {batch}" for batch in batches)
    by_input = ", ".join(f"{points[name, largest, tokens].ratio:.3f} at {tokens}" for tokens in inputs)
    more_s = point.papi.decode_s - point.attacc.decode_s
    attention = (point.papi.attention_s - point.attacc.attention_s) / more_s
    messages = (point.papi.message_s - point.attacc.message_s) / more_s
    return {
        f"{name}_behind": Explained(
            point.ratio,
            f"{by_batch} requests: FC-PIM wins at small batches. At the largest, slower attention is {100 * attention:.0f} % of what PAPI loses; "
            f"messages, over PCIe in place of NVLink, are {100 * messages:.0f} %",
        ),
        f"{name}_falls": Explained(
            point.ratio / other.ratio,
            f"by tokens of the input {by_input}: both machines attend to ever longer caches, and prefill, which they share, takes less",
        ),
        f"{name}_attention": Explained(
            point.papi.attention_s / point.attacc.attention_s,
            "half as many units per bank; the power of a stack limits those of AttAcc, so that it is not twice the time",
        ),
    }


def _run(setup: Setup, hw: str, batch: int, input_tokens: int, tokens: int) -> Served:
    equal = setup.model_copy(update={"hw": hw, "kv_tokens": input_tokens, "output_tokens": tokens - input_tokens})
    run = simulate(load_experiment(equal.options(batch, overrides=("kv.beyond_positions=run",))))
    sums = run.ledger.sums(*DECODING)
    decode_s = sum(run.ledger.totals[kind].time_s for kind in DECODING)
    emitted = batch * equal.output_tokens
    attention_s, message_s = (sums.time_by.get(each, 0.0) for each in (Category.ATTENTION, Category.COMMUNICATION))
    return Served(emitted / run.ledger.makespan_s, attention_s, message_s, decode_s)


FIGURE = Figure(values=values, table=table, drawing=CHART)
