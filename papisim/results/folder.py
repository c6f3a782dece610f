"""Read back a folder that ``--out`` wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from papisim.errors import InputError, MissingExtra
from papisim.results.csv_files import read_csv
from papisim.results.seal import MANIFEST, check_file, check_manifest

if TYPE_CHECKING:
    import pandas as pd

#: an object of a JSON file, such as a summary, a manifest, or a part of either
Json = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """The results in a folder.

    Attributes:
        folder: the folder.
        kind: ``run``, ``comparison`` …, from the manifest.
        manifest: the manifest: kind, origin and versions.
    """

    folder: Path
    kind: str
    manifest: Json

    @property
    def summary(self) -> Json:
        """The figures of ``summary.json``.

        Raises:
            InputError: the file is missing, was changed, or is no JSON.
        """
        check_file(self.manifest, self.folder / "summary.json")
        return _read_json(self.folder / "summary.json")

    @property
    def frame_names(self) -> list[str]:
        """Names of the frames in the folder."""
        return sorted({path.stem for path in self.folder.iterdir() if path.suffix in (".csv", ".parquet")})

    def frame(self, name: str) -> pd.DataFrame:
        """Return a frame by its name.

        Raises:
            InputError: there is no such frame, it was changed, or it cannot be read.
            MissingExtra: it is in parquet, and pyarrow is not installed.
        """
        import pandas as pd  # noqa: PLC0415 - start-up time

        path, parquet = self.folder / f"{name}.csv", self.folder / f"{name}.parquet"
        check_file(self.manifest, parquet if parquet.is_file() else path)
        try:
            return pd.read_parquet(parquet) if parquet.is_file() else read_csv(path)
        except ImportError:
            raise MissingExtra(f"reading {parquet}", "pyarrow", "sweep") from None
        except FileNotFoundError:
            hint = "; --metrics streaming keeps none, --metrics exact does" if name in ("steps", "requests") else ""
            raise InputError(f"there is no such file, expected the frame '{name}'{hint}", file=str(path)) from None
        except (ValueError, OSError) as error:
            raise InputError(f"cannot be read as CSV: {error}", file=str(path)) from None


def read_results(folder: Path) -> Results:
    """Open a folder of results.

    Raises:
        InputError: the path is no folder, holds no papisim manifest, or its manifest was changed or lacks the kind of results.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what = f"holds no {MANIFEST}" if folder.is_dir() else "is no folder"
        raise InputError(f"{what}, expected a folder that --out wrote", file=str(folder))
    manifest = _read_json(path)
    check_manifest(manifest, path)
    kind = manifest.get("kind")
    if not isinstance(kind, str):
        raise InputError("is missing, expected the kind of results", file=str(path), field="kind")
    return Results(folder, kind, manifest)


def _read_json(path: Path) -> Json:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read as JSON: {error}", file=str(path)) from None
    if not isinstance(value, dict):
        raise InputError("found no mapping, expected one", file=str(path))
    return value
