"""How a paper's open choices may be read: named alternatives, and the readings that combine them.

A choice about hardware is a list of assignments to fields of the machines, the same that ``--set`` takes; a choice about
the experiment sets fields of its :class:`Protocol`. A reading takes one alternative of each choice and serves all figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from papisim.config.base import Count, Spec, parse
from papisim.config.yaml import Document, check_schema, load_yaml
from papisim.errors import did_you_mean

SCHEMA = "papisim/readings/1"
CHOICES = Path(__file__).parent / "choices"

#: what a simulated run is taken apart into; a choice names those that it can change
Part = Literal[
    "fc", "attention", "all_reduce", "messages", "other", "device_energy", "attention_energy", "link_energy"
]

#: one alternative of each choice, by the choice's name; those left out are physical
Reading = Mapping[str, str]


class Protocol(Spec):
    """How an experiment is run and counted.

    Attributes:
        prompt_tokens: length of every prompt; None for the data set's.
        composition: whether requests are drawn, or stand at evenly spaced quantiles.
        padding: whether every request is as long as the longest of its batch.
        seed: of the draw.
        counted: phases that a time counts.
        energy_counted: phases that an energy counts.
        static_power: whether an energy counts what is drawn whether or not there is work.
        mean: how ratios are averaged; ``of_times`` divides the sum of all baselines' times by the sum of PAPI's.
    """

    prompt_tokens: Count | None = None
    composition: Literal["drawn", "typical"] = "drawn"
    padding: Literal["none", "longest"] = "none"
    seed: Annotated[int, Field(ge=0)] = 0
    counted: Literal["end_to_end", "decode"] = "end_to_end"
    energy_counted: Literal["as_time", "decode"] = "as_time"
    static_power: Literal["charged", "none"] = "charged"
    mean: Literal["arithmetic", "geometric", "of_times"] = "arithmetic"

    @property
    def simulated(self) -> Protocol:
        """The protocol as far as it decides what is simulated; the rest decides how it is counted."""
        return Protocol.model_validate(self.model_dump(include=_SIMULATED))


_SIMULATED = {"prompt_tokens", "composition", "padding", "seed"}


class Alternative(Spec):
    """One way to read a choice.

    Attributes:
        why: what makes it plausible.
        source: where that is from.
        set: assignments to fields of machines, by machine or group of machines.
        protocol: fields of the protocol.
    """

    why: str
    source: str
    set: dict[str, list[str]] = Field(default_factory=dict)
    protocol: dict[str, int | str | None] = Field(default_factory=dict)


class Choice(Spec):
    """What is open.

    Attributes:
        question: in words.
        touches: parts of a run that it can change, by machine or group of machines; a choice of the protocol touches all.
        alternatives: by name; the first is what we believe a machine would do.
    """

    question: str
    touches: dict[str, list[Part]] = Field(default_factory=dict)
    alternatives: Annotated[dict[str, Alternative], Field(min_length=2)]

    @property
    def physical(self) -> str:
        """The alternative that we believe."""
        return next(iter(self.alternatives))

    @property
    def decides_runs(self) -> bool:
        """Whether it changes what is simulated, beside the machines."""
        return any(field in _SIMULATED for each in self.alternatives.values() for field in each.protocol)

    @property
    def decides_counting(self) -> bool:
        """Whether it changes how runs are counted."""
        return any(field not in _SIMULATED for each in self.alternatives.values() for field in each.protocol)


class Constant(Spec):
    """A number that no source has and that we assumed.

    Attributes:
        what: in words.
        paths: where it stands, by machine or group of machines.
    """

    what: str
    paths: dict[str, list[str]]


class _File(Spec):
    description: str
    groups: dict[str, list[str]] = Field(default_factory=dict)
    choices: dict[str, Choice]
    constants: dict[str, Constant] = Field(default_factory=dict)
    stances: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Readings:
    """All choices of a paper, and the readings that ship with a name."""

    name: str
    groups: dict[str, list[str]]
    choices: dict[str, Choice]
    constants: dict[str, Constant]
    stances: dict[str, dict[str, str]]

    @cached_property
    def physical(self) -> dict[str, str]:
        """The reading that takes every choice as we believe it."""
        return {name: choice.physical for name, choice in self.choices.items()}

    def stance(self, name: str) -> dict[str, str]:
        """Return a named reading, complete.

        Raises:
            ValueError: there is none of that name.
        """
        if name not in self.stances:
            raise ValueError(f"no stance '{name}'; {did_you_mean(name, self.stances)}")
        return self.physical | self.stances[name]

    def overrides(self, reading: Reading, system: str) -> tuple[str, ...]:
        """Return the assignments to a machine's fields in a reading."""
        return tuple(
            assignment
            for name, choice in self.choices.items()
            for target, assignments in choice.alternatives[reading.get(name, choice.physical)].set.items()
            if system in self._systems(target)
            for assignment in assignments
        )

    def protocol(self, reading: Reading) -> Protocol:
        """Return how experiments are run and counted in a reading."""
        fields: dict[str, int | str | None] = {}
        for name, choice in self.choices.items():
            fields |= choice.alternatives[reading.get(name, choice.physical)].protocol
        return Protocol.model_validate(fields)

    def touching(self, system: str, part: Part) -> list[str]:
        """Return the choices about hardware that can change a part of a machine's runs."""
        return [
            name
            for name, choice in self.choices.items()
            if any(part in parts and system in self._systems(target) for target, parts in choice.touches.items())
        ]

    def places(self, constant: Constant) -> dict[str, list[str]]:
        """Return where a constant stands, by machine."""
        found: dict[str, list[str]] = {}
        for target, paths in constant.paths.items():
            for system in self._systems(target):
                found.setdefault(system, []).extend(paths)
        return found

    def _systems(self, target: str) -> list[str]:
        return self.groups.get(target, [target])


def load_readings(name: str) -> Readings:
    """Read a file of ``papisim/paper/choices/``.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    document = load_yaml(CHOICES / f"{name}.yaml")
    check_schema(document, SCHEMA)
    file: _File = parse(_File, document)
    _check_stances(document, file)
    return Readings(name, file.groups, file.choices, file.constants, file.stances)


def _check_stances(document: Document, file: _File) -> None:
    for stance, chosen in file.stances.items():
        for choice, alternative in chosen.items():
            path = ("stances", stance, choice)
            if choice not in file.choices:
                raise document.error(path, f"no choice '{choice}'; {did_you_mean(choice, file.choices)}", at_key=True)
            known = file.choices[choice].alternatives
            if alternative not in known:
                raise document.error(path, f"no alternative '{alternative}'; {did_you_mean(alternative, known)}")
