"""Write a fit as a file of kind ``fitted``, every number with its source."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from papisim.acceptance.fitting.estimate import Fit


def parameters(found: Fit) -> dict[str, Any]:
    """Return the parameters as the fields of :class:`papisim.acceptance.fitted.Options`."""
    chosen = found.parameters
    return {
        "conditional": _rounded(1 / (1 + np.exp(-chosen.log_odds)), 4),
        "level": {
            "probabilities": [float(p) for p in chosen.probabilities],
            "log_odds": _rounded(chosen.levels, 3),
        },
        "state": {"share": round(chosen.share, 3), "memory": round(chosen.memory, 3)},
    }


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    return [float(np.clip(round(float(value), digits), -99, 99)) for value in values]


def _state_note(measured: float | None, simulated: float | None) -> str:
    if measured is None or simulated is None:
        return "not measured: the log holds histograms, which have no order; rounds differ by their request alone"
    return f"lag-1 autocorrelation {measured:.3f} within {abs(simulated - measured):.3f}"


def as_yaml(name: str, found: Fit, log: str, signals: str | None, max_steps: int | None) -> str:
    """Return the file's text.

    Args:
        name: of the source.
        found: the fit.
        log: name of the log's file.
        signals: name of the signals it shall have, if any.
        max_steps: steps of a turn that counted, if not all.
    """
    fields = parameters(found)
    measured, simulated = found.measured, found.simulated
    cut = f" (the first {max_steps} of each turn)" if max_steps else ""
    data = f"{log}, source {name}: {measured.n_turns} turns, {measured.n_steps} steps{cut}; papisim fit acceptance"
    apart = max(abs(a - b) for a, b in zip(measured.survival, simulated.survival, strict=True))
    mean = abs(simulated.tokens_per_step / measured.tokens_per_step - 1)
    spread = abs(simulated.spread / measured.spread - 1) if measured.spread else 0.0
    notes = {
        "conditional": f"tokens per step {measured.tokens_per_step:.3f} within {mean:.1%}, S_j within {apart:.3f}; "
        f"positions 1 to {found.measured_positions} measured, the last holds beyond",
        "level": f"spread of turns {measured.spread:.3f} within {spread:.0%}",
        "state": _state_note(measured.lag1_autocorrelation, simulated.lag1_autocorrelation),
    }
    lines = [
        "schema: papisim/acceptance/1",
        "kind: fitted",
        f"description: {json.dumps(f'{name}, fitted to {measured.n_turns} turns', ensure_ascii=False)}",
        *([f"signals: {json.dumps(signals)}"] if signals else []),
        f"conditional: {json.dumps(fields['conditional'])}",
        "level:",
        f"  probabilities: {json.dumps(fields['level']['probabilities'])}",
        f"  log_odds: {json.dumps(fields['level']['log_odds'])}",
        f"state: {{share: {fields['state']['share']}, memory: {fields['state']['memory']}}}",
        "sources:",
        *(
            f"  {field}: {{fitted: {json.dumps(f'{data}; {note}', ensure_ascii=False)}}}"
            for field, note in notes.items()
        ),
    ]
    return "\n".join(lines) + "\n"
