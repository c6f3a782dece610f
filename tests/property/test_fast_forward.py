"""Iterations that are run at once are those that are run one by one: every reported figure is the same to 1e-9."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from papisim.engine.run import Run
from papisim.ops.kernel import KvAppend
from papisim.ops.lower import kv_bytes_per_token
from papisim.plan.phase import Phase
from papisim.record.segment import Segment
from papisim.results.frames import frames
from papisim.results.metrics import summarise

#: lists where two results differ
Differences = Callable[[Any, Any], list[str]]

SYSTEMS = ["papi", "gpu_only", "a100_attacc", "attacc_only"]
POLICIES = ["static", "dynamic", "continuous", "chunked_prefill", "prefill_priority"]
KV = [
    "kv.reserve=whole",
    "kv.on_exhaustion=recompute",
    "kv.on_exhaustion=refuse",
    "kv={on_exhaustion: swap, swap_link: nvlink}",
]

requests_of_an_hour = st.lists(
    st.tuples(st.floats(0, 1, allow_subnormal=False), st.integers(1, 700), st.integers(1, 40)),
    min_size=1,
    max_size=12,
).map(lambda requests: [(round(arrival_s, 6) * 1.0000001, *rest) for arrival_s, *rest in sorted(requests)])


def everything(run: Run) -> dict[str, Any]:
    figures = {name: frame.to_dict("records") for name, frame in frames(run).items()}
    for row in figures["runs"]:
        row.pop("overrides")
    return {"summary": summarise(run), **figures}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=requests_of_an_hour,
    hw=st.sampled_from(SYSTEMS),
    batching=st.sampled_from(POLICIES),
    kv=st.sampled_from(KV),
    tlp=st.sampled_from([1, 1, 3]),
    batch=st.integers(1, 8),
    pages=st.sampled_from([None, 60, 200]),
)
@example(
    requests=[(0.0, 1, 1), (0.0, 1, 2), (0.0, 1, 2), (0.0, 510, 1)],
    hw="papi",
    batching="chunked_prefill",
    kv="kv.reserve=whole",
    tlp=3,
    batch=2,
    pages=None,
)  # the budget of prompts beside drafts that are cut at a request's end
def test_fast_forward_changes_no_figure(
    serve: Callable[..., Run], differences: Differences, requests, hw, batching, kv, tlp, batch, pages
):  # fmt: skip
    overrides = [] if "nvlink" in kv and hw == "attacc_only" else [kv]
    options = {"batching": batching, "batch": batch, "tlp": tlp, "set": overrides}
    if pages is not None and batching != "static":
        run = serve([(0.0, 1, 1)], hw)
        capacity = run.ledger.kv_capacity_bytes
        page = 16 * kv_bytes_per_token(run.trace)
        device = run.experiment.system.spec.roles.kv
        total = run.machine.pools[device].capacity_bytes
        ratio = (total - capacity + (pages + 0.5) * page) / total
        if run.machine.roles.kv == run.machine.roles.weights:
            overrides.append(f"kv={{{_fields(kv)}utilisation_ratio: {ratio!r}}}")
    fast, slow = (serve(requests, hw, fast_forward=on, **options) for on in (True, False))
    assert differences(everything(slow), everything(fast)) == []


def _fields(kv: str) -> str:
    inner = (
        kv.removeprefix("kv={").rstrip("}") if kv.startswith("kv={") else kv.removeprefix("kv.").replace("=", ": ")
    )
    return f"{inner}, "


@pytest.mark.parametrize("hw", SYSTEMS)
def test_a_long_steady_stretch_is_one_segment_and_its_steps_are_those_of_the_oracle(
    serve: Callable[..., Run], differences: Differences, hw: str
):
    requests = [(0.0, 100, 300)]
    fast, slow = (serve(requests, hw, fast_forward=on) for on in (True, False))
    assert (len(fast.ledger.segments), len(slow.ledger.segments)) == (2, 300)
    assert differences(everything(slow), everything(fast)) == []


@pytest.mark.parametrize(
    ("hw", "options"),
    [
        ("papi_attached", {"placement": "cheapest"}),
        ("papi_attached", {"placement": "papi_operators"}),
        ("papi", {"placement": "cheapest", "set": ["roles.attention_elsewhere=[gpu]"]}),
    ],
)
def test_attention_that_moves_within_a_stretch_changes_no_figure(
    serve: Callable[..., Run], differences: Differences, hw, options
):
    requests = [(0.0, 5_900 + 10 * number, 700 + 20 * number) for number in range(8)]
    runs = [serve(requests, hw, trace="llama3-8b", fast_forward=on, **options) for on in (True, False)]
    fast, slow = runs
    assert differences(everything(slow), everything(fast)) == []
    if hw == "papi_attached":
        devices = {phase.resource for segment in fast.ledger.segments for phase, _ in segment.growing}
        assert devices == {"attn_pim", "gpu"}, "attention should move in this run"


MOVING = ["roles.kv_elsewhere={gpu: fc_pim}", "speculation.tlp=4"]
SWITCHES = ["scheduler.decision_s=20 us", "scheduler.drain_s=100 us", "scheduler.capture_s=400 us"]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.tuples(st.integers(50, 9000), st.integers(1, 120)), min_size=1, max_size=14),
    horizon=st.sampled_from([0.5, 1, 3, 10, 100]),
    where=st.sampled_from([
        ("papi", MOVING),
        ("papi", [*MOVING, "roles.attention_elsewhere=[gpu]"]),
        ("papi", [*MOVING, "devices.fc_pim.count=2"]),
        ("papi_attached", []),
    ]),
    placement=st.sampled_from(["cheapest", "papi"]),
    batching=st.sampled_from(["static", "chunked_prefill"]),
)  # fmt: skip
def test_moves_of_caches_and_operators_that_are_held_change_no_figure(
    serve: Callable[..., Run], differences: Differences, lengths, horizon, where, placement, batching
):
    """Steps one by one, many at once, and layer by layer: the same moves, each charged once, and no cache in two homes."""
    hw, extra = where
    requests = [(0.0 if batching == "static" else 0.01 * n, *each) for n, each in enumerate(lengths)]
    overrides = [*extra, *SWITCHES, f"scheduler.horizon_iterations={horizon}"]
    speculation = {"speculation": "fixed", "acceptance": "always"} if extra else {}
    fast, slow, unfolded = (
        serve(
            requests, hw, trace="llama3-8b", placement=placement, batching=batching, batch=16, set=overrides, **speculation, **how
        )
        for how in ({}, {"fast_forward": False}, {"fast_forward": False, "fold": False})
    )  # fmt: skip
    assert differences(everything(slow), everything(fast)) == []
    assert differences(summarise(slow)["scheduler"], summarise(unfolded)["scheduler"]) == []
    assert fast.ledger.makespan_s == pytest.approx(unfolded.ledger.makespan_s, rel=1e-9)
    overheads = fast.ledger.overheads
    assert overheads is not None
    steps = [segment for segment in slow.ledger.segments if segment.plan.decoding]
    assert overheads.decision_s == pytest.approx(len(steps) * 20e-6)
    homes = [_home(segment) for segment in slow.ledger.segments if _home(segment) is not None] if hw == "papi" else []
    assert sum(one != other for one, other in pairwise(homes)) <= overheads.n_moves
    if not overheads.n_moves:
        assert set(homes) <= {"attn_pim"}


def _home(segment: Segment) -> str | None:
    """Return the memory that new K and V of a step are written to; the step must write to one memory and no other."""
    kernels = [
        (phase.resource, work.item)
        for phase in (*segment.plan.phases, *(p for part in segment.plan.layout.parts for p in part.items))
        if isinstance(phase, Phase)
        for work in phase.work
    ]
    written = {resource for resource, item in kernels if isinstance(item, KvAppend)}
    assert len(written) <= 1, f"caches are written in {written}"
    return next(iter(written), None)
