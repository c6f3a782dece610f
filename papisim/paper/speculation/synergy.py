"""Synergy (arXiv:2310.18813): the gain of speculation at the best length for each batch, and how that length falls."""

from __future__ import annotations

from papisim.calibration.speculation import Profile, profile, speculator_of
from papisim.config.experiment import load_experiment
from papisim.paper.study import Study
from papisim.paper.verdict import Row

_BISECTIONS = 40


def reproduce(study: Study) -> list[Row]:
    """Profile one GPU over batches and lengths, as the paper does offline."""
    setup, batches = study.setup("one_gpu"), study.figure("batches")
    speculator = speculator_of(load_experiment(setup.options()))
    found = profile(speculator, batches, range(study.figure("longest_draft") + 1), setup.kv_tokens)
    lengths = {batch: found.best(batch).length for batch in batches}
    longest = study.figure("longest_draft")
    return [
        study.row("speed_up_1", found.speed_up(1), _why(found, 1, study)),
        study.row("speed_up_32", found.speed_up(32), _why(found, 32, study)),
        study.row(
            "length_falls",
            lengths[batches[-1]] / lengths[batches[0]],
            f"s*(b) = {', '.join(f'{length} at {batch}' for batch, length in lengths.items())}: the rows that the memory-bound "
            "pass has free are shared by the batch",
        ),
        study.row(
            "long_hurts_32",
            found.speed_up(32, longest),
            f"{longest} drafts emit {found.at(32, longest).emitted:.2f} tokens on the recalled curve and hurt only where a round takes more "
            f"than as many times a plain one; {32 * (longest + 1)} rows take {found.cost(32, longest):.2f} times here. They do fall behind "
            f"s*, {found.speed_up(32):.2f}×",
        ),
        study.row(
            "traffic",
            None,
            "arrival rates, lengths and the two fixed lengths of its traffic experiment are not at hand",
        ),
    ]


def _why(found: Profile, batch: int, study: Study) -> str:
    best, none = found.best(batch), found.at(batch, 0)
    claim = study.published.claims[f"speed_up_{batch}"].claimed
    slope = (found.at(batch, 1).round_s - none.round_s) / none.round_s
    text = (
        f"{study.setup('one_gpu').trace}: s* = {best.length} emits {best.emitted:.2f} tokens in {best.round_s * 1e3:.1f} ms, "
        f"against one in {none.round_s * 1e3:.1f} ms; one more draft costs {100 * slope:.1f} % of a pass"
    )
    overhead_s = _overhead_s(found, batch, float(claim)) if isinstance(claim, (int, float)) else None
    if overhead_s:
        text += (
            f". The claim needs {100 * (slope + overhead_s / none.round_s):.0f} % a draft, {overhead_s * 1e3:.1f} ms more: launches of the "
            "host, a larger draft model, or kernels that do not share what rows of a batch have in common; none is charged"
        )
    return text


def _overhead_s(found: Profile, batch: int, claimed: float) -> float | None:
    """Return the time that, added to each draft step, brings the best speed-up down to the claimed one."""
    points = [point for point in found.points if point.batch == batch]
    none = found.at(batch, 0)

    def speed_up(extra_s: float) -> float:
        return none.token_s / min((p.round_s + p.length * extra_s) / p.emitted for p in points)

    low, high = 0.0, none.round_s
    if not speed_up(high) <= claimed < speed_up(low):
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if speed_up(middle) > claimed else (low, middle)
    return high
