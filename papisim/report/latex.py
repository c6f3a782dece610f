"""Tables in LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: characters that LaTeX reads as commands, and signs that text fonts lack
_ESCAPES = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "·": r"$\cdot$", "µ": r"$\mu$", "α": r"$\alpha$",
    "≤": r"$\le$", "≥": r"$\ge$", "²": r"$^2$", "–": "--", "—": "---", "…": r"\ldots{}",
})  # fmt: skip


def escaped(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return text.translate(_ESCAPES)


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[bool] = (), title: str = ""
) -> str:
    """Return a ``tabular`` with the rules of the package booktabs.

    Args:
        headings: one per column.
        rows: cells as text.
        right: whether each column is aligned right; none is by default.
        title: a comment above.
    """
    aligned = [*right, *[False] * (len(headings) - len(right))]
    lines = [
        *([comment(title)] if title else []),
        f"\\begin{{tabular}}{{{''.join('r' if each else 'l' for each in aligned)}}}",
        r"\toprule",
        _row(headings),
        r"\midrule",
        *map(_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def comment(text: str) -> str:
    """Return text as comments."""
    return "\n".join(f"% {line}" for line in text.splitlines())


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"
