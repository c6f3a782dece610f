"""DSDE (arXiv:2509.01083): what capping lengths at the batch's mean adds to throughput at batch 64."""

from __future__ import annotations

from papisim.config.experiment import load_experiment
from papisim.engine.run import Run, simulate
from papisim.paper.study import Setup, Study
from papisim.paper.verdict import Row
from papisim.plan.phase import Category
from papisim.results.metrics import summarise


def reproduce(study: Study) -> list[Row]:
    """Serve one large batch with and without the cap; at batch 1 there is nothing to cap."""
    return [row for name in ("t0", "t1") for row in _cap_gain(study, name)]


def _cap_gain(study: Study, temperature: str) -> list[Row]:
    setup, batch = study.setup(temperature), study.figure("batch")
    runs = {
        (variant, cap): _run(setup, batch, variant, cap) for variant in ("dsde", "dsde_code") for cap in (True, False)
    }
    one = _run(setup, 1, "dsde", True)
    alone = _tokens_per_s(one)
    code = _gain(runs["dsde_code", True], runs["dsde_code", False])
    decoding = _decoding(runs["dsde", True], runs["dsde", False]) - 1
    return [
        study.row(
            f"cap_gain_{temperature}",
            _gain(runs["dsde", True], runs["dsde", False]),
            f"{_spent(runs['dsde', True])} with the cap, {_spent(runs['dsde', False])} without: it saves draft steps that all wait "
            f"for. Of decoding alone it is {100 * decoding:+.1f} %, of which prefill leaves this; with the rule of the released code "
            f"{100 * code:+.1f} % is left, since its shortest length is 6",
        ),
        *(
            study.row(
                f"scaling_{temperature}_{name}",
                _tokens_per_s(runs["dsde", cap]) / alone,
                f"{alone:.0f} tokens/s alone, {_tokens_per_s(runs['dsde', cap]):.0f} at batch {batch}, prefill included, which takes "
                f"{100 * summarise(runs['dsde', cap])['prefill_s'] / runs['dsde', cap].ledger.end_s:.0f} % of the time there and grows with the "
                f"prompts' assumed length; decoding alone scales {_decoding(runs['dsde', cap], one):.1f}×. Eager execution, whose fixed costs a "
                "batch shares, is not charged",
            )
            for name, cap in (("capped", True), ("uncapped", False))
        ),
    ]


def _run(setup: Setup, batch: int, variant: str, cap: bool) -> Run:
    overrides = (f"speculation.cap={str(cap).lower()}",)
    requests = None if batch > 1 else 4  # one alone may be lucky
    return simulate(load_experiment(setup.options(batch, requests, speculation=variant, set=overrides)))


def _tokens_per_s(run: Run) -> float:
    return float(summarise(run)["throughput_tokens_per_s"])


def decode_tokens_per_s(run: Run) -> float:
    """Return the tokens per second of decoding, prefill left out."""
    decode = [step for step in run.ledger.steps if step.kind == "decode"]
    return sum(step.tokens for step in decode) / sum(step.time_s for step in decode)


def _decoding(run: Run, other: Run) -> float:
    return decode_tokens_per_s(run) / decode_tokens_per_s(other)


def _gain(capped: Run, uncapped: Run) -> float:
    return _tokens_per_s(capped) / _tokens_per_s(uncapped) - 1


def _spent(run: Run) -> str:
    decode = [step for step in run.ledger.steps if step.kind == "decode"]
    rounds, time_s = sum(step.rlp for step in decode), sum(step.time_s for step in decode)
    draft = sum(step.time_by[Category.DRAFT] for step in decode) / time_s
    drafted, emitted = sum(step.drafted for step in decode) / rounds, sum(step.tokens for step in decode) / rounds
    return f"{drafted:.2f} drafted and {emitted:.2f} emitted a round, drafting {100 * draft:.0f} % of {1e3 * time_s / len(decode):.1f} ms"
