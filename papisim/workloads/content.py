"""What prompts say, as far as reuse of KV caches depends on it: which prompts begin with the same tokens.

A prompt is a sequence of spans. A span is the beginning of a text that a key names: spans with one key hold the same tokens, as far as
both reach. So two prompts begin alike as long as their spans have the same keys and lengths, and as far as the first pair with one key
reaches. Hashes of blocks, shared system prompts and the turns of a conversation are all spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: name of a text
Key = int | str | tuple[int | str, ...]
#: a part of a text: its key, its first token, its number of tokens
Piece = tuple[Key, int, int]


class Span(NamedTuple):
    """The first tokens of a text.

    Attributes:
        key: name of the text.
        tokens: tokens of it, at least 1.
    """

    key: Key
    tokens: int


Content = tuple[Span, ...]


class Said(NamedTuple):
    """What is known of a request's texts.

    Attributes:
        prompt: content of its prompt, of all its tokens; empty where nothing is known, so that it is like no other.
        answer: key of the text that it generates; None where no prompt ever repeats it.
    """

    prompt: Content = ()
    answer: Key | None = None


#: a prompt and an answer that are like no other
NOTHING = Said()


def hashed_blocks(hashes: Iterable[Key], n_tokens: int, block_tokens: int) -> Content:
    """Return the content of a prompt of which the hash of each block is known; the last block may be partial.

    Args:
        hashes: the hash of each block, ``ceil(n_tokens / block_tokens)`` of them.
        n_tokens: tokens of the prompt.
        block_tokens: tokens of a block.
    """
    return tuple(Span(key, min(block_tokens, n_tokens - index * block_tokens)) for index, key in enumerate(hashes))


def cut(content: Iterable[Span], block_tokens: int) -> Iterator[tuple[Piece, ...]]:
    """Yield the content of each block of ``block_tokens`` tokens; the last block may be partial.

    Blocks at one place in two prompts are equal where they have the same pieces.
    """
    pieces: list[Piece] = []
    room = block_tokens
    for key, tokens in content:
        start = 0
        while start < tokens:
            taken = min(room, tokens - start)
            pieces.append((key, start, taken))
            start, room = start + taken, room - taken
            if not room:
                yield tuple(pieces)
                pieces, room = [], block_tokens
    if pieces:
        yield tuple(pieces)


def repeated_blocks(prompts: Iterable[Content], block_tokens: int) -> Iterator[tuple[int, int]]:
    """Yield the first blocks of each prompt that stood at the beginning of an earlier one, and all its blocks.

    It is what a cache without bounds would find if each prompt were in it before the next comes. A block at the end of a prompt may
    be partial, as in the hashes of Mooncake's traces (Qin et al., FAST 2025).

    Args:
        prompts: contents of the prompts, in their order.
        block_tokens: tokens of a block.
    """
    follows: list[dict[tuple[Piece, ...], int]] = [{}]
    for content in prompts:
        repeated, blocks, place = 0, 0, 0
        for text in cut(content, block_tokens):
            following = follows[place].get(text)
            repeated += following is not None
            if following is None:
                following = follows[place][text] = len(follows)
                follows.append({})
            place, blocks = following, blocks + 1
        yield repeated, blocks
