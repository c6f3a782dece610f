import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.config.base import parse
from papisim.config.yaml import parse_yaml
from papisim.errors import PapisimError
from papisim.ops.cost import Cost
from papisim.ops.kernel import Attention, FcRole, Linear
from papisim.policies.placement import cheapest, papi, papi_operators, pinned
from papisim.policies.placement.base import Operator, PlacementView


def view(rlp=1, tlp=1, times=None):
    times = times or {"gpu": 1.0, "fc_pim": 1.0}
    kernel = Linear(FcRole.QKV, rlp * tlp, 64, 64)
    return PlacementView(rlp, rlp * tlp, kernel, tuple(times), lambda device, _: Cost(times[device], "test"))


def unpriced(device, kernel):
    raise AssertionError(f"an online policy asked what {kernel} costs on {device}")


def threshold(alpha):
    return papi.Placement(papi.Options(kind="papi", processing_unit="gpu", pim="fc_pim", alpha=alpha))


@pytest.mark.parametrize(
    ("rlp", "tlp", "device"),
    [(48, 1, "fc_pim"), (49, 1, "gpu"), (24, 2, "fc_pim"), (25, 2, "gpu"), (1, 48, "fc_pim"), (1, 49, "gpu")],
)
def test_papi_sends_fc_to_pim_up_to_alpha_and_to_the_processing_units_above(rlp, tlp, device):
    assert threshold(48).place(view(rlp, tlp)) == device


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 512), st.integers(1, 16), st.floats(1e-3, 600))
def test_papi_decides_by_rlp_times_tlp_alone_and_asks_no_cost_model(rlp, tlp, alpha):
    blind = PlacementView(rlp, rlp * tlp, Linear(FcRole.LM_HEAD, 1, 8, 8), ("gpu", "fc_pim"), unpriced)
    assert threshold(alpha).place(blind) == ("gpu" if rlp * tlp > alpha else "fc_pim")


def test_alpha_zero_never_chooses_pim():
    assert threshold(0).place(view(1, 1)) == "gpu"


def test_alpha_may_differ_between_models():
    options = papi.Options(kind="papi", processing_unit="gpu", pim="fc_pim", alpha={"default": 40, "llama7b": 20})
    at_30 = view(30)
    assert papi.Placement(options.for_model("llama7b")).place(at_30) == "gpu"
    assert papi.Placement(options.for_model("opt30b")).place(at_30) == "fc_pim"
    assert papi.Placement(options).place(at_30) == "fc_pim"


@pytest.mark.parametrize(
    ("alpha", "said"),
    [
        ("-1", "alpha"),
        ("true", "found true"),
        (".nan", "alpha"),
        ("{llama7b: 3}", "without a 'default'"),
        ("x", "alpha"),
    ],
)
def test_an_impossible_alpha_is_refused(alpha, said):
    text = f"kind: papi\nprocessing_unit: gpu\npim: fc_pim\nalpha: {alpha}"
    with pytest.raises(PapisimError, match=said):
        parse(papi.Options, parse_yaml(text, "f.yaml"))


def test_papi_names_both_of_its_devices_for_the_systems_check():
    options = papi.Options(kind="papi", processing_unit="gpu", pim="fc_pim", alpha=1)
    assert options.devices() == {"processing_unit": "gpu", "pim": "fc_pim"}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 512), st.integers(1, 16))
def test_pinned_never_moves(rlp, tlp):
    policy = pinned.Placement(pinned.Options(kind="pinned", device="fc_pim"))
    assert policy.place(view(rlp, tlp, {"gpu": 0.1, "fc_pim": 9.0})) == "fc_pim"


@pytest.mark.parametrize(
    ("times", "device"),
    [
        ({"gpu": 2.0, "fc_pim": 1.0}, "fc_pim"),
        ({"gpu": 1.0, "fc_pim": 2.0}, "gpu"),
        ({"gpu": 1.0, "fc_pim": 1.0}, "gpu"),
        ({"fc_pim": 1.0, "gpu": 1.0}, "fc_pim"),
    ],
)
def test_the_oracle_takes_the_smaller_price_and_the_first_named_on_a_tie(times, device):
    assert cheapest.Placement(cheapest.Options(kind="cheapest")).place(view(times=times)) == device


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0, 10), min_size=1))
def test_no_candidate_is_cheaper_than_the_oracles(times):
    chosen = cheapest.Placement(cheapest.Options(kind="cheapest")).place(view(times=times))
    assert times[chosen] == min(times.values())


def attention(rlp=4, group=4, tokens=1000, operator=Operator.ATTENTION, candidates=("attn_pim", "gpu")):
    kernel = Attention(rlp, rlp, rlp * tokens, tokens, rlp * tokens, 8 * group, 8, 128)
    return PlacementView(rlp, rlp, kernel, candidates, lambda device, _: Cost(1.0, "test"), operator, float(group))


def by_operator(**thresholds):
    options = {"kind": "papi_operators", "processing_unit": "gpu", "pim": "fc_pim", "thresholds": thresholds}
    return papi_operators.Placement(papi_operators.Options.model_validate(options))


@settings(max_examples=60, deadline=None)
@given(rlp=st.integers(1, 300), tlp=st.integers(1, 16), alpha=st.integers(0, 400))
def test_thresholds_by_operator_are_papi_where_fc_alone_has_a_choice(rlp, tlp, alpha):
    paper = papi.Placement(papi.Options(kind="papi", processing_unit="gpu", pim="fc_pim", alpha=float(alpha)))
    assert by_operator(fc=float(alpha)).place(view(rlp, tlp)) == paper.place(view(rlp, tlp))


@pytest.mark.parametrize("policy", [
    papi.Placement(papi.Options(kind="papi", processing_unit="gpu", pim="fc_pim", alpha=3.0)),
    pinned.Placement(pinned.Options(kind="pinned", device="gpu")),
    by_operator(fc=3.0),
])  # fmt: skip
@pytest.mark.parametrize("operator", [Operator.ATTENTION, Operator.DRAFT_FC, Operator.DRAFT_ATTENTION])
def test_what_a_policy_has_no_opinion_about_stays_at_home(policy, operator):
    assert policy.place(attention(rlp=64, operator=operator)) == "attn_pim"


TABLE = [
    {"intensity": 1, "tokens": 0, "requests": 2},
    {"intensity": 4, "tokens": 0},
    {"intensity": 4, "tokens": 512, "requests": 8},
]


@pytest.mark.parametrize(
    ("rlp", "group", "tokens", "device"),
    [
        (1, 1, 300, "gpu"),
        (2, 1, 300, "attn_pim"),
        (2, 3, 9000, "attn_pim"),  # the row of intensity 1 is for all below 4
        (64, 4, 300, "gpu"),  # never on PIM
        (7, 4, 512, "gpu"),
        (8, 4, 512, "attn_pim"),
        (8, 30, 9000, "attn_pim"),  # beyond the table its last row holds
        (1, 0.5, 10, "gpu"),  # below the table its first row
    ],
)
def test_the_threshold_of_attention_depends_on_intensity_requests_and_length(rlp, group, tokens, device):
    shown = attention(rlp, 1, tokens)
    shown = PlacementView(rlp, rlp, shown.kernel, shown.candidates, shown.price, shown.operator, float(group))
    assert by_operator(attention=TABLE).place(shown) == device


@pytest.mark.parametrize(("rlp", "device"), [(71, "gpu"), (72, "attn_pim"), (96, "attn_pim"), (97, "gpu"), (131, "gpu"), (132, "attn_pim"), (900, "attn_pim")])  # fmt: skip
def test_attention_may_change_sides_several_times(rlp, device):
    policy = by_operator(attention=[{"intensity": 0, "requests": [72, 97, 132]}])
    assert policy.place(attention(rlp)) == device


@pytest.mark.parametrize(("width", "device"), [(8, "fc_pim"), (16, "fc_pim"), (64, "gpu"), (99, "gpu")])
def test_fc_of_a_role_may_have_a_threshold_for_each_size(width, device):
    policy = by_operator(fc={"qkv": {64 * 16: 40, 64 * 64: 20}})
    kernel = Linear(FcRole.QKV, m=30, k=64, n=width)
    shown = PlacementView(30, 30, kernel, ("gpu", "fc_pim"), unpriced)
    assert policy.place(shown) == device


def test_requests_of_a_row_must_ascend():
    with pytest.raises(ValueError, match="expected requests to ascend"):
        by_operator(attention=[{"intensity": 0, "requests": [5, 2]}])


def test_a_draft_model_whose_home_is_the_gpu_moves_to_pim_below_its_threshold():
    candidates = ("gpu", "fc_pim")
    policy = by_operator(draft_fc=8.0)
    shown = [attention(group=group, operator=Operator.DRAFT_FC, candidates=candidates) for group in (8, 9)]
    assert [policy.place(each) for each in shown] == ["fc_pim", "gpu"]


def test_a_table_must_ascend():
    with pytest.raises(ValueError, match="expected intensity and tokens to ascend"):
        by_operator(attention=TABLE[::-1])
