"""The mappings compute the right thing: their command streams, obeyed on real numbers, against torch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.pim_machine import compute_attention, compute_linear
from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.commands import Op
from papisim.devices.pim.level import Level

torch = pytest.importorskip("torch", reason="the reference is torch's kernels: pip install 'papisim[capture]'")
pytestmark = pytest.mark.capture

SMALL = {"channels": 2}
PARTS = {name: load_part(name).part for name in ("attacc", "fc_pim", "attn_pim", "hbm_pim")}
seeds = st.integers(0, 2**32 - 1)


@st.composite
def pools(draw, names=tuple(PARTS)):
    """Small stacks with big and small buffers, and FPUs of all kinds."""
    part = PARTS[draw(st.sampled_from(names))]
    buffers = {
        "operand_bytes": draw(st.sampled_from([128.0, 512.0, 8192.0])),
        "result_bytes": draw(st.sampled_from([2.0, 6.0, 64.0, 256.0, 4096.0])),
    }
    fpu = {"fpus": draw(st.integers(1, 4)), "per_banks": draw(st.sampled_from([1, 1, 2, 4]))}
    at = draw(st.sampled_from([Level.BANK, Level.BANK_GROUP, Level.PSEUDO_CHANNEL]))
    if at is not Level.BANK:
        fpu = {"fpus": fpu["fpus"], "at": at, "per_banks": at.banks(part.organisation)}
    update = {
        "organisation": part.organisation.model_copy(update=SMALL),
        "buffers": part.buffers.model_copy(update=buffers),
        "fpu": part.fpu.model_copy(update=fpu),
        "channels_per_head": draw(st.integers(1, 2)),
    }
    return Pool("small", part.model_copy(update=update), draw(st.integers(1, 4)))


@settings(max_examples=120, deadline=None)
@given(pool=pools(), m=st.integers(1, 40), k=st.integers(1, 300), n=st.integers(1, 200), seed=seeds)
def test_fully_connected_kernels_are_computed(pool, m, k, n, seed):
    random = np.random.default_rng(seed)
    x, w = random.normal(size=(m, k)), random.normal(size=(k, n))
    result, obeyed = compute_linear(pool, x, w)
    reference = torch.nn.functional.linear(torch.from_numpy(x), torch.from_numpy(w.T.copy())).numpy()
    np.testing.assert_allclose(result, reference, rtol=1e-9, atol=1e-9)
    assert obeyed.commands[Op.ACTIVATE] == obeyed.commands[Op.PRECHARGE]


@settings(max_examples=100, deadline=None)
@given(
    pool=pools(),
    group=st.integers(1, 4),
    tlp=st.integers(1, 5),
    lengths=st.lists(st.integers(1, 120), min_size=1, max_size=3),
    head_dim=st.sampled_from([16, 40, 64, 80, 128]),
    seed=seeds,
)
def test_attention_of_ragged_requests_with_grouped_queries_and_drafts_is_computed(
    pool, group, tlp, lengths, head_dim, seed
):
    random = np.random.default_rng(seed)
    for tokens in lengths:
        q = random.normal(size=(group, tlp, head_dim))
        k, v = (random.normal(size=(tokens, head_dim)) for _ in range(2))
        result, _ = compute_attention(pool, q.reshape(-1, head_dim), k, v)
        reference = torch.nn.functional.scaled_dot_product_attention(
            torch.from_numpy(q), torch.from_numpy(k).expand(group, -1, -1), torch.from_numpy(v).expand(group, -1, -1)
        )
        np.testing.assert_allclose(result, reference.numpy().reshape(-1, head_dim), rtol=1e-9, atol=1e-9)


class _Forgetful(Pool):
    """A pool whose command stream lacks its last MAC."""

    def commands(self, kernel):
        stream, rules = super().commands(kernel)
        commands = list(stream)
        last = max(index for index, command in enumerate(commands) if command.op is Op.MAC)
        return iter(commands[:last] + commands[last + 1 :]), rules


def test_a_stream_that_lost_a_mac_is_found_out():
    with pytest.raises(AssertionError, match=r"MACs are missing|results never left"):
        compute_linear(_Forgetful("attacc", PARTS["attacc"], 1), np.ones((1, 64)), np.ones((64, 512)))
