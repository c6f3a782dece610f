"""Print the lowest version of everything that papisim says it works with, as constraints for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

#: what tests and builds use has newer versions everywhere; capture is tied to one version of torch by constraints.txt
NOT_LOWEST = ("dev", "docs", "mutate", "capture")
BOUND = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9][0-9.]*)")


def lowest() -> dict[str, str]:
    """Return the lower bound of every dependency; where extras bound the same package, the highest of their bounds.

    Raises:
        ValueError: a dependency has no lower bound.
    """
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(text for name in extras if name not in NOT_LOWEST for text in extras[name])]
    found: dict[str, str] = {}
    for text in wanted:
        match = BOUND.fullmatch(text)
        if match is None:
            raise ValueError(f"pyproject.toml: {text!r} has no lower bound; write name>=version")
        name, version = match[1].lower(), match[2]
        found[name] = max(found.get(name, "0"), version, key=lambda text: [int(part) for part in text.split(".")])
    return found


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in sorted(lowest().items())))
