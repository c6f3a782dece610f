"""What a paper leaves open.

Four words, used everywhere in this sense:

* a *choice* is a question about the experiments that the paper does not answer;
* an *alternative* is one answer. It assigns fields of the machines, as ``--set`` does, or sets fields of the :class:`Protocol`;
* an *interpretation* takes one alternative of each choice, and holds for all figures of the paper;
* *physical* is the first alternative of each choice, which a machine would most probably follow, and the interpretation of these.

A paper's choices, and the interpretations that have a name, are in ``choices.yaml`` in the paper's package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from papisim.config.base import Count, Spec, parse
from papisim.config.yaml import Document, check_schema, load_yaml
from papisim.errors import InputError, did_you_mean

SCHEMA = "papisim/choices/1"

#: the parts of a run's time and energy; a choice names those that it can change
Part = Literal[
    "fc", "attention", "all_reduce", "messages", "other", "device_energy", "attention_energy", "link_energy"
]

#: the alternative taken of each choice, by the choice's name; choices left out are physical
Interpretation = Mapping[str, str]

#: assignments to fields of machines, by machine
Assignments = Mapping[str, tuple[str, ...]]


class Protocol(Spec):
    """How an experiment is run and evaluated.

    Attributes:
        prompt_tokens: length of every prompt; None for the lengths of the data set.
        composition: whether the lengths of a batch are drawn, or lie at evenly spaced quantiles.
        padding: whether every request is as long as the longest of its batch.
        seed: seed of the draw.
        counted: phases whose time counts.
        energy_counted: phases whose energy counts.
        static_power: whether static power counts as energy.
        mean: how ratios are averaged; ``of_times`` divides the sum of the baselines' times by the sum of PAPI's.
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
        """The fields that decide what is simulated; the others, at their defaults here, decide how a run is evaluated."""
        return Protocol.model_validate(self.model_dump(include=_SIMULATED))


_SIMULATED = {"prompt_tokens", "composition", "padding", "seed"}


class Alternative(Spec):
    """One answer to a choice.

    Attributes:
        why: what makes the answer plausible.
        source: work and place of that reason.
        set: assignments to fields of machines, by machine or group of machines.
        protocol: fields of the protocol.
    """

    why: str
    source: str
    set: dict[str, list[str]] = Field(default_factory=dict)
    protocol: dict[str, int | str | None] = Field(default_factory=dict)


class Choice(Spec):
    """A question that a paper leaves open.

    Attributes:
        question: the question, in words.
        touches: parts of a run that the choice can change, by machine or group of machines; a choice of the protocol can change
            all.
        alternatives: answers by name; the first is the physical one.
    """

    question: str
    touches: dict[str, list[Part]] = Field(default_factory=dict)
    alternatives: Annotated[dict[str, Alternative], Field(min_length=2)]

    @property
    def physical(self) -> str:
        """The name of the physical alternative."""
        return next(iter(self.alternatives))

    @property
    def decides_runs(self) -> bool:
        """Whether the choice changes the requests that are simulated."""
        return any(field in _SIMULATED for each in self.alternatives.values() for field in each.protocol)

    @property
    def decides_evaluation(self) -> bool:
        """Whether the choice changes how runs are evaluated, and not the runs."""
        return any(field not in _SIMULATED for each in self.alternatives.values() for field in each.protocol)


class Constant(Spec):
    """An assumed number of the machines' files, for which there is no source.

    Attributes:
        what: the quantity, in words.
        paths: paths of its fields, by machine or group of machines.
    """

    what: str
    paths: dict[str, list[str]]


class _File(Spec):
    description: str
    groups: dict[str, list[str]] = Field(default_factory=dict)
    choices: dict[str, Choice]
    constants: dict[str, Constant] = Field(default_factory=dict)
    interpretations: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Choices:
    """All choices of a paper, its named interpretations, and the constants that its machines assume.

    Attributes:
        choices: by name; none for a paper that leaves nothing open.
        named: what each named interpretation takes, as far as it differs from the physical one.
        constants: by name.
        groups: machines by the name of their group.
    """

    choices: dict[str, Choice] = field(default_factory=dict)
    named: dict[str, dict[str, str]] = field(default_factory=lambda: {"physical": {}})
    constants: dict[str, Constant] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def physical(self) -> dict[str, str]:
        """The interpretation that takes the physical alternative of every choice."""
        return {name: choice.physical for name, choice in self.choices.items()}

    def interpretation(self, name: str) -> dict[str, str]:
        """Return a named interpretation, with the alternative of every choice.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self.named:
            raise InputError(f"no interpretation '{name}'; {did_you_mean(name, self.named)}")
        return self.physical | self.named[name]

    def overrides(self, interpretation: Interpretation, system: str) -> tuple[str, ...]:
        """Return the assignments to a machine's fields in an interpretation."""
        return tuple(
            assignment
            for name, choice in self.choices.items()
            for target, assignments in choice.alternatives[interpretation.get(name, choice.physical)].set.items()
            if system in self._systems(target)
            for assignment in assignments
        )

    def protocol(self, interpretation: Interpretation) -> Protocol:
        """Return the rules by which experiments are run and evaluated in an interpretation."""
        fields: dict[str, int | str | None] = {}
        for name, choice in self.choices.items():
            fields |= choice.alternatives[interpretation.get(name, choice.physical)].protocol
        return Protocol.model_validate(fields)

    def touching(self, system: str, part: Part) -> list[str]:
        """Return the choices about hardware that can change a part of a machine's runs."""
        return [
            name
            for name, choice in self.choices.items()
            if any(part in parts and system in self._systems(target) for target, parts in choice.touches.items())
        ]

    def places(self, constant: Constant) -> dict[str, list[str]]:
        """Return the paths of a constant's fields, by machine."""
        found: dict[str, list[str]] = {}
        for target, paths in constant.paths.items():
            for system in self._systems(target):
                found.setdefault(system, []).extend(paths)
        return found

    def _systems(self, target: str) -> list[str]:
        return self.groups.get(target, [target])


def load_choices(file: Path) -> Choices:
    """Read a paper's ``choices.yaml``; a paper without such a file leaves nothing open.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    if not file.is_file():
        return Choices()
    document = load_yaml(file)
    check_schema(document, SCHEMA)
    content = parse(_File, document)
    _check_interpretations(document, content)
    return Choices(content.choices, content.interpretations, content.constants, content.groups)


def _check_interpretations(document: Document, content: _File) -> None:
    for interpretation, taken in content.interpretations.items():
        for choice, alternative in taken.items():
            path = ("interpretations", interpretation, choice)
            if choice not in content.choices:
                hint = did_you_mean(choice, content.choices)
                raise document.error(path, f"no choice '{choice}'; {hint}", at_key=True)
            known = content.choices[choice].alternatives
            if alternative not in known:
                raise document.error(path, f"no alternative '{alternative}'; {did_you_mean(alternative, known)}")
