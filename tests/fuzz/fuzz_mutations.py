"""Hostile variants of good inputs: trees of plain values, tables, texts and bytes."""

from __future__ import annotations

import copy
import random

#: what stands where a number, a name or a mapping was meant; paths are of files that cannot be written, as options take them for outputs
HOSTILE = (
    None, True, False, 0, -1, 1, 2, 7, 0.5, -0.0, 1e-300, -1e-300, 1e300, 1e20, -1e20, 10**20, 2**31, 2**31 - 1, 2**63, 10**12,
    float("nan"), float("inf"), float("-inf"), "", " ", "x", "nan", "inf", "1e999", "1_000", "١٢", " 3 ", "0x10", "5 GB/s", "-3 s",
    "3.35 TB/s", "50 ms", "85 %", "[/x]", "n[red]", "\x1b[31mred", "\x07", "../../x", "/proc/version", "/dev/null", "a" * 3000,
    "\u202edlrow", "é", "日本", "=1+1", "<script>alert(1)</script>", "{{7*7}}", "%s%n", "$(id)", "a\nb", "papi", "fc_pim", "gpu",
    "fixed", "llama7b", "~", "null", "no", "on", [], {}, [[]], [None], [1, 2], ["x"], {"kind": "x"}, {"a": 1}, {"": None},
)  # fmt: skip

#: cells of a table, and what may stand in a line
CELLS = ("", " ", "x", "-1", "0", "1e20", "1e999", "nan", "inf", "NaN", "1.5", "1_0", "١", "9" * 5000, '"', '""', "\x00", "=1+1",
         "2023-11-16 18:17:03", "2023-11-16T18:17:03+02:00", "null", "true", "[]", "\x1b[31m", "-0", "0x1", "1,5", "é")  # fmt: skip

#: bytes that readers stumble over
BYTES = (b"\x00", b"\xff", b"\xef\xbb\xbf", b"\x1f\x8b", b"\r", b"\n", b"\t", b'"', b"'", b"{", b"[", b"[" * 2000, b"{" * 50, b":", b"- ",
         b"&a *a", b"!!python/object:os.system x", b"*x", b"%", b"---\n", b"...\n", b"9" * 6000, b"NaN", b"Infinity", b"-1", b"1e999",
         b"\\ud800", b"null", b"true", b",", b"}", b"]", b"#", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b]0;x\x07")  # fmt: skip


def mutate_tree(rng: random.Random, tree: object, most: int = 3) -> object:
    """Return a copy of a tree of mappings, lists and scalars with some places changed."""
    changed = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, *range(2, most + 1)))):
        places = list(_places(changed))
        if not places:
            return rng.choice(HOSTILE)
        _change(rng, *rng.choice(places), places)
    return changed


def _places(node: object):
    """Yield the containers of a tree, each with a key or index in it."""
    inner = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    for key, value in inner:
        yield node, key
        yield from _places(value)


def _change(rng: random.Random, container, key, places) -> None:
    value = container[key]
    match rng.randrange(9):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[rng.choice((str(key)[:-1], f"{key}x", str(key).upper(), "", "kind", "a" * 300))] = (
                container.pop(key)
            )
        case 2 if isinstance(container, dict):
            container[rng.choice(("unknown", "kind", f"{key}_s", "<b>"))] = copy.deepcopy(rng.choice(HOSTILE))
        case 3:
            other, place = rng.choice(places)
            if _has(other, place):
                container[key] = copy.deepcopy(other[place])
        case 4 | 5 | 6 if isinstance(value, (int, float)) and not isinstance(value, bool):
            container[key] = value * rng.choice((-1, 0, 2, 0.5, 1e-9, 1e9, 1e30, 1e-30, 3, 10))
        case 7 if isinstance(value, list):
            container[key] = value[: rng.randint(0, len(value))] * rng.randint(1, 3)
        case _:
            container[key] = copy.deepcopy(rng.choice(HOSTILE))


def _has(container, place) -> bool:
    return place in container if isinstance(container, dict) else place < len(container)


def mutate_bytes(rng: random.Random, content: bytes, most: int = 3) -> bytes:
    """Return bytes with some places changed, cut or repeated."""
    for _ in range(rng.randint(1, most)):
        start = rng.randint(0, len(content))
        end = min(len(content), start + rng.choice((1, 2, 8, 64)))
        match rng.randrange(6):
            case 0:
                content = content[:start]
            case 1:
                content = content[:start] + content[end:]
            case 2:
                content = content[:end] + content[start:]
            case 3 if content:
                place = min(start, len(content) - 1)
                content = content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
            case 4:
                content = content.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"\x0b\n")))
            case _:
                content = content[:start] + rng.choice(BYTES) + content[rng.choice((start, end)) :]
    return content


def mutate_table(rng: random.Random, text: str) -> str:
    """Return a CSV text with some cells or lines changed."""
    lines = text.splitlines()
    for _ in range(rng.randint(1, 3)):
        row = rng.randrange(len(lines))
        cells = lines[row].split(",")
        match rng.randrange(6):
            case 0:
                lines.pop(row)
                lines = lines or [""]
            case 1:
                lines.insert(row, lines[row])
            case 2:
                lines[row] = ",".join(rng.sample(cells, len(cells)))
            case 3:
                lines[row] = ",".join(cells[:-1] if rng.random() < 0.5 else [*cells, "x"])
            case _:
                cells[rng.randrange(len(cells))] = rng.choice(CELLS)
                lines[row] = ",".join(cells)
    return "\n".join(lines) + "\n"
