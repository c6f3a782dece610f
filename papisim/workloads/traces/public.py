"""The catalogue of public request traces: where each is, who may use it, and what its bytes are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.base import Name, Spec, parse
from papisim.config.sources import bibliography
from papisim.config.yaml import check_schema, load_yaml
from papisim.errors import did_you_mean

SCHEMA = "papisim/public-trace/1"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PublicTrace(Spec):
    """A request trace that is free to download.

    Attributes:
        description: what it is, in a line.
        url: where it is.
        file: its name in the cache.
        format: a module of :mod:`papisim.workloads.formats`.
        sha256: of the file at the URL; None where it is not known.
        sha256_from: who says so, or why there is none.
        licence: under which it is.
        citation: a key of the bibliography: what to cite.
    """

    description: Name
    url: Annotated[str, Field(pattern=r"^https://\S+$")]
    file: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    format: Name
    sha256: Sha256 | None
    sha256_from: Name
    licence: Name
    citation: Name

    @field_validator("citation")
    @classmethod
    def _is_in_the_bibliography(cls, key: str) -> str:
        if key not in bibliography():
            raise ValueError(f"found '{key}', no work of the bibliography; {did_you_mean(key, bibliography())}")
        return key


def load_public(name_or_path: str) -> PublicTrace:
    """Read an entry of the catalogue.

    Raises:
        InputError, InputErrors: there is no such entry, or it is wrong.
    """
    document = load_yaml(catalog.find(Shelf.PUBLIC, name_or_path).path)
    check_schema(document, SCHEMA)
    return parse(PublicTrace, document)
