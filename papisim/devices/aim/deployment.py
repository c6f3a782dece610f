"""A token on a machine of CENT: its blocks on devices that share them, or several blocks on a device.

The released accounting is followed (run_sim.py and cxl_latency.py of CENT, commit 8c79786): the token of a request goes through the blocks one after
the other, and what blocks send to each other does not overlap with their work.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import NamedTuple

from papisim.devices.aim import lowering
from papisim.devices.aim.instructions import Stream
from papisim.devices.aim.layout import Layout, up
from papisim.devices.aim.lowering import Block
from papisim.devices.aim.part import Part
from papisim.devices.aim.pool import Pass, Pool
from papisim.devices.link import Links
from papisim.ops.cost import Cost

_NUMBER_BYTES = 2


class Sharing(NamedTuple):
    """How blocks are spread over a machine.

    Attributes:
        ranks: devices that share a block.
        channels: channels of a device that a block has.
        stages: blocks, or groups of devices, that work on different tokens at the same time.
    """

    ranks: int
    channels: int
    stages: int


class Deployment:
    """A model on a machine.

    Args:
        part: the devices.
        links: the links of a device.
        model: a block, and the vocabulary.
        n_blocks: blocks of the model.
        sharing: how they are spread.
        sampling_s: time between the last block and the next token, on the host.
    """

    def __init__(  # noqa: PLR0917
        self, part: Part, links: Links, model: Block, n_blocks: int, sharing: Sharing, sampling_s: float
    ) -> None:
        self._part, self._links, self._model, self._n_blocks = part, links, model, n_blocks
        self._sharing, self._sampling_s = sharing, sampling_s
        self._layout: Layout = part.layout(sharing.ranks, sharing.channels)
        self._pool = Pool("aim", part, sharing.ranks)
        self._pool.layout = self._layout
        self.block = lru_cache(self._block)

    def _block(self, tokens: int) -> Cost:
        """Return the time of a block's instructions and the energy of the device that does all of it, static energy aside."""
        return self._cost(lowering.block(self._layout, self._model, tokens))

    @cached_property
    def embedding(self) -> Cost:
        """The time and energy of both embeddings and the last norm."""
        return self._cost(lowering.embedding(self._layout, self._model))

    @cached_property
    def _others(self) -> Cost:
        """The time and energy of a block on each of the other devices that share it."""
        return self._cost(lowering.shared(self._layout, self._model))

    def units_s(self, tokens: int) -> float:
        """Return the time of the controller's units for the blocks that share a device."""
        pnm, model, heads = self._part.pnm, self._model, self._model.heads
        rotated = model.width + heads.kv * heads.width
        one = 2 * pnm.norm_s(model.width) + pnm.softmax_s(heads.query, tokens) + pnm.rotary_s(rotated)
        return self._layout.blocks * one

    @property
    def links_s(self) -> float:
        """Time of a block's messages.

        A stage of one block passes its output on. Where devices are ranks, also of a group of one, vectors of five products are gathered and
        five inputs broadcast, one of each besides as wide as the feed-forward network.
        """
        model, ranks = self._model, self._sharing.ranks
        if self._sharing.stages == self._n_blocks:
            return self._message_s(model.width)
        broadcast = 5 * self._message_s(model.width) + self._message_s(model.feed_forward)
        others = (ranks - 1) / ranks
        gathered = 5 * self._message_s(model.width * others) + self._message_s(model.feed_forward * others)
        return broadcast + gathered

    def token_s(self, tokens: int) -> float:
        """Return the time of a token behind a cache that has ``tokens`` with it."""
        one = self.block(tokens).time_s + self.links_s + self.units_s(tokens)
        return self._n_blocks * one + self.embedding.time_s + self._sampling_s

    def token_j(self, tokens: int) -> float:
        """Return the energy of a token in all devices, static energy while instructions run included."""
        pnm, model, heads = self._part.pnm, self._model, self._model.heads
        own, others = self.block(tokens), self._others
        rotated = model.width + heads.kv * heads.width
        units_j = 2 * pnm.norm_j(model.width) + pnm.softmax_j(heads.query, tokens) + pnm.rotary_j(rotated)
        n_others = self._sharing.ranks - 1
        static_j = self._part.static_w * (own.time_s + n_others * others.time_s)
        block_j = own.energy.total_j + n_others * (others.energy.total_j + units_j) + units_j + static_j
        return up(self._n_blocks, self._layout.blocks) * block_j

    def _message_s(self, numbers: float) -> float:
        return self._links.transfer(numbers * _NUMBER_BYTES).time_s

    def _cost(self, streams: dict[str, Stream]) -> Cost:
        return self._pool.price_pass(Pass(tuple(step for stream in streams.values() for step in stream)))
