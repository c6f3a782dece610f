"""The grammar of ``papisim price``: which sizes an operation takes, and the kernel that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from papisim.config.base import parse
from papisim.config.quantisation import AS_TRACED_BITS, QuantisationSpec
from papisim.config.yaml import Document
from papisim.errors import InputError
from papisim.ops.formats import Formats
from papisim.ops.kernel import Attention, FcRole, Linear
from papisim.ops.lower import KvLengths, prefill_lengths
from papisim.ops.trace import Point
from papisim.plan.build import build_formats

#: the operation that is a whole decode iteration
STEP = "step"

#: the sizes that an operation takes, each with its default: a number, the name of the size that it equals, or None where it
#: must be given
_Sizes = dict[str, int | str | None]

#: sizes by operation
OPERATIONS: dict[str, _Sizes] = {
    "attention": {"heads_per_stack": None, "kv": None, "tlp": 1, "dhead": 128, "group": 1, "kv_bits": AS_TRACED_BITS},
    "linear": {"m": None, "k": None, "n": None, "weight_bits": AS_TRACED_BITS, "activation_bits": AS_TRACED_BITS},
    "prefill": {"batch_size": None, "heads": None, "kv_heads": "heads", "tokens": None, "dhead": 128},
    STEP: {"rlp": None, "tlp": 1, "kv": None},
}
#: attention of a whole batch, as on a GPU; distinguished from (request, head) pairs on a stack by its sizes
_BATCH_ATTENTION: _Sizes = {
    "batch_size": None, "heads": None, "kv_heads": "heads", "kv": None, "tlp": 1, "dhead": 128, "kv_bits": AS_TRACED_BITS,
}  # fmt: skip
#: every size that some operation takes
SIZES = frozenset(name for sizes in (*OPERATIONS.values(), _BATCH_ATTENTION) for name in sizes)


def kernel_of(op: str, sizes: Mapping[str, int | None], count: int) -> Linear | Attention:
    """Make a kernel from the options that describe it.

    ``heads_per_stack`` counts attention pairs, a head of the cache of one request each; ``group`` query heads share it.
    With ``batch_size`` and ``heads`` attention is that of a whole batch. ``prefill`` attends to whole prompts. Weights and
    caches of fewer than 16 bits have scales of 16 bits for groups of 128.

    Raises:
        InputError: a size is missing, belongs to another operation, or is not positive.
    """
    known = OPERATIONS[op]
    if op == "attention" and any(sizes.get(name) is not None for name in ("batch_size", "heads", "kv_heads")):
        known = _BATCH_ATTENTION
    size = _complete(op, sizes, known)
    formats = _formats(size)
    if op == "linear":
        return Linear(
            FcRole.QKV, size["m"], size["k"], size["n"], weights=formats.weights, input_bits=formats.input_bits
        )
    attention = _on_stacks(size, count) if "heads_per_stack" in known else _of_batch(op, size)
    return replace(attention, kv=formats.kv)


def point_of(sizes: Mapping[str, int | None]) -> Point:
    """Return the requests, new tokens and cached tokens of a decode iteration.

    Raises:
        InputError: a size is missing, belongs to another operation, or is not positive.
    """
    size = _complete(STEP, sizes, OPERATIONS[STEP])
    return Point(rlp=size["rlp"], tlp=size["tlp"], kv=size["kv"])


def _complete(op: str, sizes: Mapping[str, int | None], known: _Sizes) -> dict[str, int]:
    """Return every size of an operation, given or by default."""
    foreign = sorted(name for name, size in sizes.items() if size is not None and name not in known)
    if foreign:
        raise InputError(f"is no size of op {op}, which takes {', '.join(known)}", field=foreign[0])
    found: dict[str, int] = {}
    for name, default in known.items():
        given = sizes.get(name)
        value = given if given is not None else found[default] if isinstance(default, str) else default
        if value is None:
            raise InputError(f"is missing: op {op} takes {', '.join(known)}", field=name)
        if value < 1:
            raise InputError(f"found {value}, expected at least 1", field=name)
        found[name] = value
    return found


def _formats(size: Mapping[str, int]) -> Formats:
    """Return the storage formats of a kernel's operands, with the scales that an experiment has by default.

    Raises:
        InputError: a width that is not modelled.
    """
    widths = {name: bits for name, bits in size.items() if name.endswith("_bits")}
    return build_formats(parse(QuantisationSpec, Document(widths, "widths")))


def _on_stacks(size: Mapping[str, int], count: int) -> Attention:
    """Return attention of as many (request, KV head) pairs on each of ``count`` stacks."""
    pairs, kv, tlp = size["heads_per_stack"] * count, size["kv"], size["tlp"]
    return Attention(
        n_requests=pairs, query_tokens=pairs * tlp, kv_tokens=pairs * kv, longest_kv=kv, pairs=pairs * kv * tlp,
        n_heads=size["group"], n_kv_heads=1, head_dim=size["dhead"],
    )  # fmt: skip


def _of_batch(op: str, size: Mapping[str, int]) -> Attention:
    """Return attention of a batch of equal requests: over whole prompts, or of new tokens over their caches."""
    requests, heads, kv_heads = size["batch_size"], size["heads"], size["kv_heads"]
    if heads % kv_heads:
        raise InputError(f"found {kv_heads}, expected a divisor of the {heads} query heads", field="kv_heads")
    if op == "prefill":
        lengths = prefill_lengths([size["tokens"]] * requests)
    else:
        tlp, kv = size["tlp"], size["kv"]
        lengths = KvLengths(requests, requests * tlp, requests * kv, kv, requests * tlp * kv)
    return Attention(
        n_requests=lengths.n_requests, query_tokens=lengths.query_tokens, kv_tokens=lengths.kv_tokens,
        longest_kv=lengths.longest_kv, pairs=lengths.pairs, n_heads=heads, n_kv_heads=kv_heads, head_dim=size["dhead"],
        causal=lengths.causal,
    )  # fmt: skip
