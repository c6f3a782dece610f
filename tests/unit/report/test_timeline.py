import io
import json
from collections import defaultdict
from itertools import pairwise

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.errors import InputError
from papisim.ops.lower import kv_bytes_per_token
from papisim.plan.phase import Category
from papisim.policies.placement.base import Operator
from papisim.report import timeline as module
from papisim.report.timeline import Timeline, Window, parse_window, timeline

FIXED = "workload.lengths={kind: fixed, input_tokens: 32, output_tokens: 12}"


def traced(window=None, **options):
    """Run with a timeline; returns the run and the events."""
    experiment = load_experiment(RunOptions(**{"hw": "papi", "trace": "llama7b", "batch": 4, **options}))
    file = io.StringIO()
    probe = Timeline(experiment, file, window)
    run = simulate(experiment, probe=probe)
    probe.close()
    return run, json.loads(file.getvalue())["traceEvents"]


def slices(events, category=None):
    return [event for event in events if event["ph"] == "X" and category in (None, event["cat"])]


def steps_and_work(events):
    """Split slices into those of steps and those of what ran in them."""
    kinds = {"prefill", "decode", "mixed"}
    found = slices(events)
    return [e for e in found if e["cat"] in kinds], [e for e in found if e["cat"] not in kinds]


@pytest.fixture(scope="module")
def whole():
    return traced(set=[FIXED])


@pytest.mark.parametrize("window", [None, Window(0, 3, in_time=False), Window(0.0, 0.01, in_time=True)])
def test_every_event_is_one_that_the_format_knows(window):
    _, events = traced(window, set=[FIXED])
    needed = {"X": {"ts", "dur", "cat"}, "C": {"ts"}, "i": {"ts", "s", "cat"}, "M": set()}
    for event in events:
        assert {"name", "ph", "pid", "args"} | needed[event["ph"]] <= set(event)
        assert event["ph"] == "C" or isinstance(event["tid"], int)
        assert event.get("dur", 0) >= 0
        assert event.get("ts", 0) >= 0
    timed = [event["ts"] for event in events if "ts" in event]
    assert timed == sorted(timed)


def test_slices_of_one_track_never_overlap(whole):
    _, events = whole
    tracks = defaultdict(list)
    for event in slices(events):
        tracks[event["pid"], event["tid"]].append(event)
    for track in tracks.values():
        for before, after in pairwise(track):
            assert before["ts"] + before["dur"] <= after["ts"] + 1e-3


def test_what_ran_in_a_step_adds_up_to_the_step(whole):
    run, events = whole
    steps, work = steps_and_work(events)
    assert len(steps) == len(list(run.ledger.steps))
    for step, row in zip(steps, run.ledger.steps, strict=True):
        inside = [e["dur"] for e in work if step["ts"] - 1e-3 <= e["ts"] < step["ts"] + step["dur"] - 1e-3]
        assert step["dur"] == pytest.approx(1e6 * row.time_s, rel=1e-6)
        assert sum(inside) == pytest.approx(step["dur"], rel=1e-5)


def test_a_step_in_the_window_is_laid_out_layer_by_layer_and_takes_as_long_as_folded(whole):
    folded, _ = whole
    run, events = traced(Window(2, 4, in_time=False), set=[FIXED])
    steps, work = steps_and_work(events)
    assert [step["name"] for step in steps] == ["decode 2", "decode 3"]
    layers = run.trace.model.n_layers
    attention = [event for event in work if event["name"] == "attention"]
    assert len(attention) == 2 * layers
    assert all("kv=" in event["args"]["shape"] and event["args"]["bound"] for event in attention)
    times = {row.index: row.time_s for row in folded.ledger.steps if row.kind == "decode"}
    for step in steps:
        assert step["dur"] == pytest.approx(1e6 * times[int(step["name"].split()[1])], rel=1e-6)


def test_kernels_say_their_shape_bytes_and_bound_and_conserve_flop():
    run, events = traced(Window(0, 1, in_time=False), set=[FIXED])
    step = next(row for row in run.ledger.steps if row.kind == "decode")
    (slice_of_step,) = slices(events, "decode")
    fc = [event for event in slices(events, "fc") if event["ts"] >= slice_of_step["ts"]]
    for event in fc:
        assert event["args"]["shape"].startswith("m=4 ")
        assert event["args"]["moved_bytes"] > 0
        assert event["args"]["bound"]
    assert sum(event["args"]["flop"] for event in fc) == pytest.approx(sum(step.fc_flop_by.values()))


def test_a_folded_slice_says_which_kernels_it_stands_for(whole):
    run, events = whole
    last = max((event for event in slices(events, "fc")), key=lambda event: event["ts"])
    counts = dict(reversed(part.split()) for part in last["args"]["kernels"].split(", "))
    layers = run.trace.model.n_layers
    assert int(counts["qkv"]) == 3 * layers
    assert int(counts["lm_head"]) == 1


def test_counters_are_what_was_in_flight_and_end_at_nothing(whole):
    run, events = whole
    counters = defaultdict(list)
    for event in events:
        if event["ph"] == "C":
            (value,) = event["args"].values()
            counters[event["name"]].append((event["ts"], value))
    rows = list(run.ledger.steps)
    assert set(counters) == {"RLP", "TLP", "RLP·TLP", "KV cache", "power"}
    assert [value for _, value in counters["RLP"]] == [*(row.rlp for row in rows), 0]
    assert [value for _, value in counters["RLP·TLP"]] == [*(row.rows for row in rows), 0]
    per_token = kv_bytes_per_token(run.trace)
    assert [value for _, value in counters["KV cache"]] == [*(row.kv_tokens * per_token for row in rows), 0]
    watts = [value for _, value in counters["power"]][:-1]
    joules = sum(watt * row.time_s for watt, row in zip(watts, rows, strict=True))
    assert joules == pytest.approx(sum(row.energy.total_j for row in rows))


def test_a_change_of_placement_is_an_instant_where_the_ledger_has_it():
    run, events = traced(trace="llama65b", batch=64)
    decode = [row for row in run.ledger.steps if row.kind == "decode"]
    changes = [after for before, after in pairwise(decode) if before.fc_device != after.fc_device]
    instants = [event for event in events if event["ph"] == "i"]
    assert [event["ts"] for event in instants] == pytest.approx([1e6 * row.start_s for row in changes])
    assert instants[0]["name"] == "FC: gpu → fc_pim"
    assert instants[0]["args"]["rows"] == changes[0].rows


def test_a_move_of_attention_is_an_instant_too():
    """The oracle moves attention of llama3-8b from the GPUs to Attn-PIM and FC to FC-PIM as the batch gets smaller."""
    run, events = traced(hw="papi_attached", trace="llama3-8b", batch=64, tlp=8, placement="cheapest")
    names = [event["name"] for event in events if event["ph"] == "i"]
    assert (
        sum(name.startswith("attention: ") for name in names) == run.ledger.visits[Operator.ATTENTION].n_switches > 0
    )
    assert sum(name.startswith("FC: ") for name in names) == run.ledger.visits[Operator.FC].n_switches > 0


def test_devices_and_links_are_processes_with_their_parts_names(whole):
    _, events = whole
    names = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert any(name.startswith("gpu (6 × ") for name in names)
    assert any(name.startswith("attn_pim (60 × ") for name in names)
    assert any(name.startswith("pcie (") for name in names)
    assert any(name.startswith("server ") for name in names)
    introduced = {event["pid"] for event in events if event["name"] == "process_name"}
    assert {event["pid"] for event in events} == introduced


def test_a_watched_run_is_the_run_that_nobody_watches(whole):
    watched, _ = whole
    alone = simulate(watched.experiment)
    assert watched.ledger.end_s == pytest.approx(alone.ledger.end_s, rel=1e-9)
    assert [row.rlp for row in watched.ledger.steps] == [row.rlp for row in alone.ledger.steps]


def test_drafting_by_a_model_is_laid_out_layer_by_layer_too():
    options = {"hw": "gpu_only", "trace": "llama3-8b", "tlp": 3, "set": [FIXED]}
    draft = "drafting={kind: model, trace: llama32-1b, device: gpu}"
    run, events = traced(Window(0, 1, in_time=False), **{**options, "set": [FIXED, draft]})
    drafting = slices(events, str(Category.DRAFT))
    step = next(row for row in run.ledger.steps if row.kind == "decode")
    assert sum(event["dur"] for event in drafting) == pytest.approx(1e6 * step.time_by[Category.DRAFT], rel=1e-4)
    assert sum(event["name"] == "attention" for event in drafting) == 2 * 16  # two serial steps of sixteen layers


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("100..120", Window(100, 120, in_time=False)),
        ("0.1s..0.2s", Window(0.1, 0.2, in_time=True)),
        ("500 us .. 2ms", Window(5e-4, 2e-3, in_time=True)),
    ],
)
def test_a_window_is_a_span_of_time_or_of_iterations_without_its_end(text, window):
    assert parse_window(text) == window
    where = (lambda value: (value, -1)) if window.in_time else (lambda value: (-1.0, value))
    assert window.has(*where(window.first))
    assert not window.has(*where(window.end))


def test_a_bare_number_beside_a_time_is_in_seconds():
    assert parse_window("1s..20") == Window(1, 20, in_time=True)


@pytest.mark.parametrize("text", ["", "5", "0.2s..0.1s", "3..3", "a..b", "1GB..2GB"])
def test_a_window_that_is_none_is_refused_with_an_example(text):
    with pytest.raises(InputError, match=r"--timeline-window.*0\.1s\.\.0\.2s"):
        parse_window(text)


def test_a_run_that_fails_leaves_no_file(tmp_path):
    experiment = load_experiment(RunOptions(hw="papi", trace="llama7b", batch=1))
    with pytest.raises(RuntimeError), timeline(experiment, tmp_path / "t.json"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folded_phase_has_the_energy_of_all_its_layers(whole, monkeypatch):
    """Steps laid out kernel by kernel and steps of one slice per device and category take the same energy."""
    monkeypatch.setattr(module, "FIRST_STEPS", Window(-1, 0, in_time=False))
    _, folded = traced(set=[FIXED])
    work, of_layers = steps_and_work(folded)[1], steps_and_work(whole[1])[1]
    assert len(work) < len(of_layers) / 10
    energy = [sum(event["args"]["energy_j"] for event in events) for events in (work, of_layers)]
    assert energy[0] == pytest.approx(energy[1], rel=1e-9)
