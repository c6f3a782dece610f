"""Public data that the models are compared with, free to download: ``papisim/validation/public_data.yaml``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from papisim.catalog import cache_folder
from papisim.config.base import Count, Name, Spec, parse
from papisim.config.sources import bibliography
from papisim.config.yaml import check_schema, load_yaml
from papisim.errors import did_you_mean
from papisim.workloads.traces.fetch import Fetched, fetch
from papisim.workloads.traces.public import Sha256, load_public

SCHEMA = "papisim/public-data/1"
#: largest download of a request trace, whose size the catalogue of traces does not have
_MOST_TRACE_BYTES = 64 * 1024**2


class PublicFile(Spec):
    """One file that can be downloaded: its address and content, or the name of a public request trace.

    Attributes:
        url: address of the file, pinned to a version.
        sha256: checksum of its bytes.
        size_bytes: their number; a larger download is refused.
        licence: licence of the file.
        citation: key of the bibliography.
        public_trace: name of a public request trace (``papisim list traces``), which has all of these, in place of them.
    """

    url: Annotated[str, Field(pattern=r"^https://\S+$")] | None = None
    sha256: Sha256 | None = None
    size_bytes: Count | None = None
    licence: Name | None = None
    citation: Name | None = None
    public_trace: Name | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> PublicFile:
        own = (self.url, self.sha256, self.size_bytes, self.licence, self.citation)
        if any(each is None for each in own) if self.public_trace is None else any(each is not None for each in own):
            raise ValueError("expected url, sha256, size_bytes, licence and citation, or public_trace alone")
        return self

    @field_validator("citation")
    @classmethod
    def _is_in_the_bibliography(cls, key: str | None) -> str | None:
        if key is not None and key not in bibliography():
            raise ValueError(f"found '{key}', no work of the bibliography; {did_you_mean(key, bibliography())}")
        return key

    @property
    def source(self) -> tuple[str, str | None, int]:
        """Address, checksum and largest size of the download."""
        if self.public_trace is not None:
            trace = load_public(self.public_trace)
            return trace.url, trace.sha256, _MOST_TRACE_BYTES
        assert self.url is not None
        assert self.size_bytes is not None
        return self.url, self.sha256, self.size_bytes


class PublicData(Spec):
    """The table of public data.

    Attributes:
        description: what the table is for.
        files: files that can be downloaded, by their path in the folder of data.
        others: by folder, where further data come from that cannot be downloaded as they are used.
    """

    description: Name
    files: dict[Annotated[str, Field(pattern=r"^[\w-]+/[\w.-]+$")], PublicFile]
    others: dict[str, Name]


@cache
def public_data() -> PublicData:
    """Read the table."""
    document = load_yaml(Path(__file__).with_name("public_data.yaml"))
    check_schema(document, SCHEMA)
    return parse(PublicData, document)


def data_folder() -> Path:
    """Return the folder in the user's cache that public data are downloaded to."""
    return cache_folder() / "validation"


def fetch_all(folder: Path, starting: Callable[[str], None] = lambda name: None) -> Iterator[Fetched]:
    """Download every public file that is not in a folder yet, and check all of them.

    Args:
        folder: where to; files have their paths of the table in it.
        starting: called with the name of a file before it is downloaded or checked.

    Raises:
        InputError: a file cannot be downloaded or is not the one expected; earlier files are kept.
    """
    for name, file in public_data().files.items():
        starting(name)
        url, sha256, most_bytes = file.source
        yield fetch(url, folder / name, sha256=sha256, most_bytes=most_bytes)


def how_to_get(name: str) -> str:
    """Say how a file or folder of data is obtained.

    Args:
        name: path in the folder of data, such as ``golden`` or ``gpu/vidur_a100_phi2.csv``.
    """
    folder = name.partition("/")[0]
    if any(file in (name, name.removesuffix(".gz")) for file in public_data().files):
        return "papisim validate --fetch downloads it"
    return public_data().others.get(folder, "it is not public")
