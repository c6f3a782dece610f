"""How many tokens a text has: counted by a tokenizer, or by a length that the user declares; never guessed."""

from __future__ import annotations

import math
from collections.abc import Callable

from papisim.errors import MissingExtra
from papisim.workloads.traces.reading import Reading


def token_counter(reading: Reading) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text, without the special ones around it.

    Raises:
        InputError: the user says no way of counting, or names a file that is no tokenizer.
        MissingExtra: ``tokenizers`` is not installed.
    """
    options = reading.options
    if options.chars_per_token is not None:
        per_token = options.chars_per_token
        return lambda text: math.ceil(len(text) / per_token)
    if options.tokenizer is None:
        raise reading.error(
            "holds text, and no lengths in tokens; say 'tokenizer' (a tokenizer.json) or 'chars_per_token' (such as 4)"
        )
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - an extra
    except ImportError:
        raise MissingExtra("counting tokens", "tokenizers", "tokenize") from None
    try:
        tokenizer = Tokenizer.from_file(options.tokenizer)
    except Exception as error:  # the library raises Exception itself
        raise reading.error(f"tokenizer '{options.tokenizer}' cannot be read: {error}") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
