"""The works that results rest on, and papisim itself, as BibTeX."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import metadata
from pathlib import Path

from papisim import catalog
from papisim.config.sources import bibliography
from papisim.config.yaml import load_yaml
from papisim.errors import InputError
from papisim.results.folder import Json, Results
from papisim.results.seal import MANIFEST, file_sha256


def bibtex(results: Results) -> str:
    """Return an entry of papisim, and one of each work that a number of the results is from.

    Raises:
        InputError: the manifest names no sources and no files that have any.
    """
    works = bibliography()
    cited = sorted({origin for origin in _origins(results) if origin in works})
    return "\n\n".join([_papisim(results.manifest), *(works[key].bibtex for key in cited)]) + "\n"


def _origins(results: Results) -> Iterator[str]:
    """Yield the origin of each number: as recorded, or else from the files that were read."""
    manifest = results.manifest
    recorded = [manifest, *manifest.get("runs", ())]
    sources = [source["origin"] for each in recorded for source in each.get("sources", ())]
    if sources:
        yield from sources
    elif "input_files" in manifest:
        yield from _origins_in_files(results)
    else:
        raise InputError("names no sources", file=str(results.folder / MANIFEST), field="sources")


def _origins_in_files(results: Results) -> Iterator[str]:
    for each in results.manifest["input_files"]:
        folder = {"shipped": catalog.data_folder(), "cache": catalog.cache_folder(), "user": Path()}[each["origin"]]
        path = folder / each["path"]
        if path.suffix not in catalog.YAML_SUFFIXES:
            continue
        if not path.is_file() or file_sha256(path) != each["sha256"]:
            raise InputError("is not the file that the results were made from", file=str(path))
        yield from _keys(load_yaml(path).data.get("sources"))


def _keys(sources: object) -> Iterable[str]:
    fields = sources.values() if isinstance(sources, dict) else ()
    return [str(origin) for origins in fields if isinstance(origins, dict) for origin in origins]


def _papisim(manifest: Json) -> str:
    about = metadata("papisim")
    homes = dict(each.split(", ", 1) for each in about.get_all("Project-URL") or ())
    fields = {
        "title": f"{{papisim}}: {about['Summary'].rstrip('.')}",
        "author": "{The papisim authors}",
        "version": str(manifest["versions"]["papisim"]),
        "year": str(manifest["written"])[:4],
        "url": homes.get("Source") or homes.get("Repository") or next(iter(homes.values()), ""),
    }
    lines = ",\n".join(f"  {name:<7} = {{{value}}}" for name, value in fields.items() if value)
    return f"@software{{papisim,\n{lines}\n}}"
