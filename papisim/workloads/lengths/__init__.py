"""How long prompts and answers are; one kind of distribution, one file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from papisim.workloads.lengths.empirical import Empirical
from papisim.workloads.lengths.fixed import Fixed
from papisim.workloads.lengths.listed import Listed
from papisim.workloads.lengths.log_normal import LogNormal
from papisim.workloads.lengths.quantiles import Quantiles
from papisim.workloads.lengths.uniform import Uniform


def _kind(value: object) -> str | None:
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


#: any of the kinds, distinguished by ``kind``
Lengths = Annotated[
    Annotated[Fixed, Tag("fixed")]
    | Annotated[Listed, Tag("listed")]
    | Annotated[Quantiles, Tag("quantiles")]
    | Annotated[Empirical, Tag("empirical")]
    | Annotated[LogNormal, Tag("log_normal")]
    | Annotated[Uniform, Tag("uniform")],
    Discriminator(_kind),
]
