"""The thresholds of a machine's operators: from its files where their stamp fits, calibrated otherwise.

A machine's file names a table of thresholds, and for each model in it a stamp: the hash of the thresholds and of all that they depend on,
devices, links, roles, model, quantisation and engine. Thresholds of draft models are calibrated when an experiment is loaded.
FC of dense models with one threshold has PAPI's α (:mod:`papisim.calibration.alpha`).
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from papisim.calibration.alpha import best_alpha, calibrated, part_subject
from papisim.calibration.cache import remembered
from papisim.calibration.operators import ATTENTION, Subject, by_size, located, points_of, sides_of, subjects
from papisim.catalog import data_folder
from papisim.config.base import KindOptions
from papisim.config.experiment import Experiment
from papisim.config.inheritance import FIELD
from papisim.config.system import System
from papisim.config.tuning import Origin, Tuning, with_tuning
from papisim.config.yaml import Inline, dump
from papisim.devices.link import LINK
from papisim.errors import InputError
from papisim.ops.kernel import FcRole
from papisim.ops.trace import read_trace
from papisim.policies.placement.base import Operator
from papisim.policies.placement.papi_operators import BySize, Level, Threshold

COLUMNS = ("model", "operator", "role", "size", "intensity", "tokens", "requests")
#: fields of a system's roles that no price of a decoding step depends on
_NO_PRICE = {"prefill", "arbitration", "kv_elsewhere"}
_ROLES = tuple(FcRole)

#: the thresholds of a model's operators
Thresholds = dict[Operator, Threshold]


def thresholds(experiment: Experiment) -> Thresholds:
    """Return the threshold of each operator that has several devices, from the machine's files or the cache if it is there."""
    found: Thresholds = {}
    for subject in subjects(experiment):
        found |= stored(subject) or calibrate(subject)
    return found


def calibrate(subject: Subject) -> Thresholds:
    """Return the threshold of each operator of a model that has several devices, from the cache if it is there."""
    sides = {operator: sides_of(subject, operator) for operator in Operator}
    return {operator: _threshold(subject, operator, both) for operator, both in sides.items() if both is not None}


def _threshold(subject: Subject, operator: Operator, sides: tuple[str, str]) -> Threshold:
    experiment = subject.experiment
    is_by_role = experiment.system.placement.fc_by_role and operator in (Operator.FC, Operator.EXPERTS)
    if operator is Operator.FC and not is_by_role and not subject.trace.model.n_experts:
        as_captured = read_trace(experiment.trace.path)
        return float(
            best_alpha(calibrated(experiment.system, as_captured, experiment.quantisation, experiment.engine))
        )

    def columns() -> list[list[float]]:
        if is_by_role:
            return [
                [_ROLES.index(role), size, each] for (role, size), each in by_size(subject, operator, sides).items()
            ]
        found = located(subject, operator, sides).threshold
        if isinstance(found, float):
            return [[found]]
        return [[row.intensity, row.tokens, *row.changes] for row in found]

    rows = remembered(["thresholds", operator, sides, subject_of(subject), points_of(operator)], columns)
    if is_by_role:
        return _of_roles((_ROLES[int(role)], int(size), each) for role, size, each in rows)
    if operator not in ATTENTION:
        return rows[0][0]
    return [
        Level(intensity=i, tokens=tokens, requests=[int(n) for n in changes] or None) for i, tokens, *changes in rows
    ]


def _of_roles(rows: Iterable[tuple[FcRole, int, float]]) -> dict[FcRole, BySize]:
    """Return thresholds by role from rows of role, size and threshold; by size where a role has several."""
    found = defaultdict[FcRole, dict[int, float]](dict)
    for role, size, each in rows:
        found[role][size] = each
    return {role: own if len(own) > 1 else next(iter(own.values())) for role, own in found.items()}


def subject_of(subject: Subject) -> str:
    """Return everything that the thresholds of a model on a machine depend on, as JSON."""
    experiment = subject.experiment
    system, options = experiment.system, experiment.system.placement
    spec = system.spec
    found = {
        "devices": {name: part_subject(system, name) for name in spec.devices},
        "links": {name: _link_subject(system, name) for name in spec.links},
        "roles": spec.roles.model_dump(mode="json", exclude=_NO_PRICE, exclude_defaults=True),
        "placed": [options.processing_unit, options.pim, options.fc_by_role],
        "drafts": list(subject.machine.roles.fc) if subject.drafts else None,
        "model": subject.trace.structure_sha256,
        "quantisation": experiment.quantisation.model_dump(mode="json", exclude_defaults=True),
        "engine": experiment.engine.model_dump(mode="json", include={"fusion", "graphs", "kernels"}),
    }
    return json.dumps(found, sort_keys=True)


def _link_subject(system: System, name: str) -> dict[str, object]:
    part = system.parts[name]
    code = LINK.code(part.kind)
    return {
        "count": system.spec.links[name].count,
        "part": part.model_dump(mode="json", exclude_defaults=True, exclude={"description"}),
        **({} if code is None else {"code": asdict(code)["sha256"]}),
    }


def stamp(subject: Subject, found: Mapping[Operator, Threshold]) -> str:
    """Return the hash of thresholds and of the machine and the model that they are of (:func:`subject_of`)."""
    return hashlib.sha256(json.dumps([subject_of(subject), *rows_of(found)]).encode()).hexdigest()[:16]


def stored(subject: Subject) -> Thresholds | None:
    """Return the thresholds of a model in the machine's files; None where there are none, or their stamp is another one's.

    Raises:
        InputError: the table that the machine's file names cannot be read.
    """
    shipped, model = subject.experiment.system.placement.calibrated, subject.experiment.trace.name
    if shipped is None or subject.drafts or model not in shipped.stamps:
        return None
    found = read_table(shipped.file).get(model, {})
    return found if stamp(subject, found) == shipped.stamps[model] else None


def read_table(file: str) -> dict[str, Thresholds]:
    """Read a table of thresholds by model.

    Args:
        file: its path, or where it is in the folder of shipped files.

    Raises:
        InputError: there is no such file, or it is no table of thresholds.
    """
    path = Path(file) if Path(file).is_file() else data_folder() / file
    try:
        with path.open(encoding="utf-8", newline="") as opened:
            rows = defaultdict[str, dict[Operator, list[dict[str, str]]]](lambda: defaultdict(list))
            for row in csv.DictReader(opened):
                rows[row["model"]][Operator(row["operator"])].append(row)
        return {model: {each: _read(own) for each, own in found.items()} for model, found in rows.items()}
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=file) from None
    except (KeyError, ValueError) as error:
        raise InputError(
            f"is no table of thresholds with the columns {', '.join(COLUMNS)}: {error}", file=file
        ) from None


def _read(rows: Sequence[Mapping[str, str]]) -> Threshold:
    if rows[0]["role"]:
        return _of_roles((FcRole(row["role"]), int(row["size"] or 0), float(row["intensity"])) for row in rows)
    if not rows[0]["tokens"]:
        return float(rows[0]["intensity"])
    return [
        Level(
            intensity=float(row["intensity"]),
            tokens=float(row["tokens"]),
            requests=[int(n) for n in row["requests"].split()] or None,
        )
        for row in rows
    ]


def rows_of(found: Mapping[Operator, Threshold]) -> Iterator[tuple[str, ...]]:
    """Yield thresholds as rows of the table, the model aside; attention that is never on PIM has no requests."""
    for operator, threshold in found.items():
        if isinstance(threshold, float):
            yield operator.value, "", "", _exact(threshold), "", ""
        elif isinstance(threshold, dict):
            for role, own in threshold.items():
                for size, each in own.items() if isinstance(own, dict) else [("", own)]:
                    yield operator.value, role.value, str(size), _exact(each), "", ""
        else:
            for row in threshold:
                requests = " ".join(map(str, row.changes))
                yield operator.value, "", "", _exact(row.intensity), _exact(row.tokens), requests


def _exact(number: float) -> str:
    """Return a number as the shortest text that reads as the same number."""
    return repr(number).removesuffix(".0")


def tune(experiment: Experiment) -> Experiment:
    """Return an experiment whose placement has the thresholds of its machine and models, or those that are given."""
    system, given = experiment.system, experiment.system.placement
    if given.thresholds != "auto":
        return experiment
    found, origin = Thresholds(), set[Origin]()
    for subject in subjects(experiment):
        own = stored(subject)
        origin.add("calibrated on the fly" if own is None else "calibrated for this machine")
        found |= calibrate(subject) if own is None else own
    options: KindOptions = given.with_found(found)
    told = [row for operator, threshold in found.items() for row in _told(operator, threshold)]
    tuning = Tuning("placement.thresholds", told, max(origin), told, 0.0, "an operator, averaged over the grid,")
    return with_tuning(replace(experiment, system=replace(system, placement=options)), tuning)


def _told(operator: Operator, threshold: Threshold) -> Iterator[dict[str, float | str]]:
    """Yield a threshold as rows of plain values; of a table, its number of rows and its hash."""
    if isinstance(threshold, list):
        rows = hashlib.sha256(json.dumps([*rows_of({operator: threshold})]).encode()).hexdigest()[:16]
        yield {"operator": operator.value, "rows": len(threshold), "sha256": rows}
        return
    for name, role, size, intensity, _, _ in rows_of({operator: threshold}):
        yield {"operator": ".".join(filter(None, (name, role, size))), "intensity": float(intensity)}


def write_system(
    document: Mapping[str, object],
    found: Mapping[str, Thresholds],
    stamps: Mapping[str, str],
    out: Path,
) -> dict[Path, str]:
    """Return the texts of a machine's file with stamps, and of the table beside it that it names.

    Args:
        document: the fields of the machine's file.
        found: thresholds by model.
        stamps: their stamps by model.
        out: where the file is to be written.

    Raises:
        InputError: the file is another name of a system, or has no placement or sources.
    """
    inherited: object = {} if FIELD in document else None  # a file that extends a machine has its placement
    placement, sources = document.get("placement", inherited), document.get("sources")
    if not isinstance(placement, dict) or not isinstance(sources, dict):
        raise InputError("describes no machine of its own, expected 'placement' and 'sources'")
    table = out.with_name(f"{out.stem}.thresholds.csv").resolve()
    home = data_folder().resolve()
    name = str(table.relative_to(home) if table.is_relative_to(home) else table)
    placed = {**placement, "thresholds": "auto", "calibrated": {"file": name, "stamps": dict(stamps)}}
    told = {path: Inline(origin) if isinstance(origin, dict) else origin for path, origin in sources.items()}
    lines = [",".join(COLUMNS), *(",".join((model, *row)) for model, own in found.items() for row in rows_of(own))]
    return {
        table: "\n".join(lines) + "\n",
        out: dump({**document, "placement": placed, "sources": told}),
    }  # fmt: skip
