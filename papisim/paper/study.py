"""What is published of a system and how it is set up, read from ``papisim/paper/published/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from papisim.config.base import Count, Spec, parse
from papisim.config.experiment import RunOptions
from papisim.config.yaml import check_schema, load_yaml
from papisim.errors import InputError
from papisim.paper.verdict import Claim, Row, judge

SCHEMA = "papisim/published/1"
_PUBLISHED = Path(__file__).parent / "published"


class Setup(Spec):
    """One experiment of a system.

    Attributes:
        hw: the machine.
        overrides: what differs from its file, and from those named below.
        trace: the target model.
        drafting: who drafts.
        acceptance: what is accepted.
        kv_tokens: tokens in each request's cache: the prompt of a simulated run, the cache of a profiled iteration.
        output_tokens: tokens that each request generates in a simulated run.
        assumed: what the publication does not state and is assumed here, and why.
    """

    hw: str = "gpu_only"
    overrides: tuple[str, ...] = ()
    trace: str
    drafting: str = "free"
    acceptance: str = "always"
    kv_tokens: Count = 512
    output_tokens: Count = 128
    assumed: str

    def options(self, batch: int = 1, requests: int | None = None, **changes: Any) -> RunOptions:
        """Return a run of equal requests, ``changes`` being further fields of the options."""
        lengths = f"{{kind: fixed, input_tokens: {self.kv_tokens}, output_tokens: {self.output_tokens}}}"
        overrides = (*self.overrides, f"workload.lengths={lengths}", *changes.pop("set", ()))
        fields = {"trace": self.trace, "draft": self.drafting, "acceptance": self.acceptance, **changes}
        return RunOptions(hw=self.hw, batch=batch, requests=requests or batch, set=overrides, **fields)


class Published(Spec):
    """The entry of a system or a figure.

    Attributes:
        title: what it shows.
        assumed: what the publication does not state and every experiment of the entry takes for granted.
        setups: experiments by name.
        claims: what is claimed, by name.
        figures: further published figures, and settings, that its module works with.
        figures_source: where those are from.
    """

    title: str = ""
    assumed: list[str] = Field(default_factory=list)
    setups: dict[str, Setup] = Field(default_factory=dict)
    claims: Annotated[dict[str, Claim], Field(min_length=1)]
    figures: dict[str, Any] = Field(default_factory=dict)
    figures_source: str = ""


@dataclass(frozen=True)
class Study:
    """A system's name and entry; makes its rows."""

    system: str
    published: Published

    def setup(self, name: str) -> Setup:
        """Return an experiment by its name."""
        return self.published.setups[name]

    def figure(self, name: str) -> Any:
        """Return a further published figure."""
        return self.published.figures[name]

    def row(self, claim: str, simulated: float | None, reason: str) -> Row:
        """Return a claim's row."""
        entry = self.published.claims[claim]
        error, verdict = judge(entry, simulated)
        return Row(
            self.system, entry.what, entry.shown, simulated, error, verdict, reason, entry.reliability, entry.source
        )


def load_studies(name: str) -> dict[str, Study]:
    """Read the studies of a file of ``papisim/paper/published/``, by system.

    Raises:
        InputError, InputErrors: everything that is wrong, with places.
    """
    document = load_yaml(_PUBLISHED / f"{name}.yaml")
    check_schema(document, SCHEMA)
    document.data.pop("description", None)
    if not document.data:
        raise InputError("publishes nothing", file=document.file)
    return {system: Study(system, parse(Published, document.subtree((system,)))) for system in document.data}
