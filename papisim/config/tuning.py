"""Values that belong to a machine and a model: where each came from, and what it should have been."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from papisim.config.experiment import Experiment

#: the file's value, found for this machine and model; found when the experiment was loaded; or said by the user
Origin = Literal["calibrated for this machine", "calibrated on the fly", "given"]


@dataclass(frozen=True)
class Tuning:
    """One value of an experiment that belongs to its machine and model.

    Attributes:
        field: its path, as ``--set`` has it.
        value: what the run uses: a number, or the rows of a table as plain values.
        origin: where that came from.
        calibrated: what calibration finds for this machine and model; None where that cannot be found.
        loss_ratio: by how much longer the work takes with ``value`` than with ``calibrated``, as a ratio; None where not known.
        of: the work that ``loss_ratio`` is about, in words.
    """

    field: str
    value: object
    origin: Origin
    calibrated: object | None
    loss_ratio: float | None
    of: str

    @property
    def note(self) -> str | None:
        """The warning that the value was not calibrated for this machine and model; None where it equals what is calibrated."""
        if self.value == self.calibrated:
            return None
        head = f"{self.field} {told(self.value)} is given, not calibrated for this machine and model"
        if self.calibrated is None:
            return f"{head}; it cannot be calibrated here"
        loss = "" if self.loss_ratio is None else f"; expected loss: {self.of} takes {self.loss_ratio:.1%} longer"
        return f"{head}: calibrated it is {told(self.calibrated)}{loss} ('auto' calibrates)"


def with_tuning(experiment: Experiment, tuning: Tuning) -> Experiment:
    """Return an experiment with a further tuning, and its note."""
    notes = () if tuning.note is None else (tuning.note,)
    return replace(experiment, tunings=(*experiment.tunings, tuning), notes=(*experiment.notes, *notes))


def told(value: object) -> str:
    """Return a tuned value as text: a table by the values of its rows."""
    if isinstance(value, list):
        return ", ".join(":".join(str(cell) for cell in row.values()) for row in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def tuned(experiment: Experiment) -> Experiment:
    """Return an experiment whose placement and speculation suit its machine and model.

    Kinds of options that depend on these name the function that tunes them (:attr:`papisim.config.base.KindOptions.tuner`);
    it is imported when an experiment first needs it, as it runs the models of devices.

    Raises:
        InputError: a value cannot be calibrated and none is given.
    """
    for options in (experiment.system.placement, experiment.speculation):
        if options.tuner is not None:
            module, _, function = options.tuner.partition(":")
            experiment = getattr(importlib.import_module(module), function)(experiment)
    return experiment
