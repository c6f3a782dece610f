"""Times of arrival as files have them: numbers in some unit, or dates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from papisim import foreign
from papisim.workloads.traces.spec import TimeUnit

#: turns a JSON value or the text of a cell into s; raises ValueError, which says what was expected
Clock = Callable[[object], float]

#: what is wrong with a unit of no times
NO_ARRIVALS = "is given, and the file has no arrivals that it could be of"

_SCALES: dict[TimeUnit, float] = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
#: three thousand years: a larger time is a time stamp since 1970 in a smaller unit
_LATEST_S = 1e11

#: near enough to the traces that a float of s since then resolves single µs
_EPOCH = datetime(2020, 1, 1)
_EPOCH_UTC = _EPOCH.replace(tzinfo=UTC)


def clock(unit: TimeUnit) -> Clock:
    """Return a reader of the times of one file."""
    if unit == "datetime":
        return _Dates()
    scale = _SCALES[unit]

    def seconds(value: object) -> float:
        time_s = foreign.number(value, 0) * scale
        if time_s > _LATEST_S:
            raise ValueError(f"expected a time in {unit}; another 'time_unit' may be meant")
        return time_s

    return seconds


class _Dates:
    """Reads ISO 8601 dates and times; either all of a file have a time zone, or none has and all are taken as UTC."""

    def __init__(self) -> None:
        self._has_zone: bool | None = None

    def __call__(self, value: object) -> float:
        """Return the s since :data:`_EPOCH`; µs are the last digits."""
        try:
            time = datetime.fromisoformat(foreign.text(value).strip())
            since_s = (time - (_EPOCH if time.tzinfo is None else _EPOCH_UTC)).total_seconds()
        except (ValueError, OverflowError):
            raise ValueError("expected a date and time such as 2023-11-16 18:17:03.97") from None
        has_zone = time.tzinfo is not None
        if self._has_zone is None:
            self._has_zone = has_zone
        elif self._has_zone != has_zone:
            raise ValueError(
                f"expected a time {'with' if self._has_zone else 'without'} a time zone, as those before"
            )
        return since_s
