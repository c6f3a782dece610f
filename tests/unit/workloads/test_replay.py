import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.config.sections import load_section
from papisim.errors import InputError, PapisimError
from papisim.workloads.replay import Options, Workload, select

N = 2000
ARRIVALS = np.cumsum(np.random.default_rng(7).exponential(0.5, N)).round(6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("trace") / "t.csv"
    rows = "".join(f"{arrival},{index + 1},{2 * index + 1}\n" for index, arrival in enumerate(ARRIVALS))
    file.write_text(f"arrival_s,input_tokens,output_tokens\n{rows}")
    return str(file)


def replay(path, seed=0, **fields):
    return list(Workload(Options(kind="replay", path=path, **fields), seed))


def test_every_request_of_the_file_comes_when_it_came(path):
    requests = replay(path)
    assert [request.request_id for request in requests] == list(range(N))
    assert [r.arrival_s for r in requests] == pytest.approx((ARRIVALS - ARRIVALS[0]).tolist(), abs=1e-9)
    assert [(r.input_tokens, r.output_tokens) for r in requests] == [(i + 1, 2 * i + 1) for i in range(N)]


def test_a_window_keeps_what_arrives_in_it_and_starts_time_anew(path):
    times = ARRIVALS - ARRIVALS[0]
    inside = times[(times >= 100) & (times < 300)]
    requests = replay(path, start_s=100, end_s=300)
    assert [r.arrival_s for r in requests] == pytest.approx((inside - 100).tolist(), abs=1e-9)


@pytest.mark.parametrize(
    ("fields", "n"),
    [({"sample_ratio": 0.25}, N // 4), ({"sample_requests": 17}, 17), ({"sample_requests": 10 * N}, N)],
)
def test_a_sample_is_part_of_the_requests_at_their_times_and_differs_by_seed(path, fields, n):
    everything = {(r.arrival_s, r.input_tokens, r.output_tokens) for r in replay(path)}
    sampled = [(r.arrival_s, r.input_tokens, r.output_tokens) for r in replay(path, **fields)]
    assert len(sampled) == len(set(sampled)) == n
    assert set(sampled) <= everything
    assert sampled == sorted(sampled)
    assert sampled == [(r.arrival_s, r.input_tokens, r.output_tokens) for r in replay(path, **fields)]
    if n < N:
        assert sampled != [(r.arrival_s, r.input_tokens, r.output_tokens) for r in replay(path, seed=1, **fields)]


def test_a_sample_is_drawn_from_all_over_the_file(path):
    chosen = np.array([r.input_tokens for r in replay(path, sample_ratio=0.2)])
    assert chosen.mean() == pytest.approx(N / 2, rel=0.06)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-3, 1e3), offset_s=st.just(0.0) | st.floats(1e-6, 1e4))
def test_scaling_the_rate_divides_every_time_and_an_offset_shifts_it(path, scale, offset_s):
    plain = np.array([r.arrival_s for r in replay(path, n_requests=50)])
    scaled = np.array([r.arrival_s for r in replay(path, n_requests=50, rate_scale=scale, offset_s=offset_s)])
    assert scaled == pytest.approx(plain / scale + offset_s)


def test_a_wanted_rate_is_met(path):
    requests = replay(path, n_requests=101, rate_per_s=8.0)
    assert (len(requests) - 1) / (requests[-1].arrival_s - requests[0].arrival_s) == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"start_s": 5, "end_s": "5 s"}, "expected more than 'start_s' 5.0"),
        ({"sample_ratio": 0.5, "sample_requests": 3}, "expected one of them"),
        ({"rate_scale": 2, "rate_per_s": 3}, "expected one of them"),
        ({"rate_scale": 0}, "greater than 0"),
    ],
)
def test_contradicting_fields_are_refused(path, fields, said):
    with pytest.raises(ValueError, match=said):
        Options(kind="replay", path=path, **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"start_s": 1e6}, "no request is left between 'start_s' and 'end_s'"),
        ({"sample_ratio": 1e-9}, "no request is left"),
        ({"n_requests": 1, "rate_per_s": 3}, "rate_per_s: all requests arrive at once"),
    ],
)
def test_a_choice_that_leaves_nothing_to_do_is_refused(path, fields, said):
    with pytest.raises(InputError, match=said):
        replay(path, **fields)


def test_lengths_without_arrivals_are_not_replayed_and_the_way_out_is_shown(tmp_path):
    file = tmp_path / "lengths.csv"
    file.write_text("input_tokens,output_tokens\n1,2\n3,4\n")
    options = Options(kind="replay", path=str(file))
    with pytest.raises(InputError, match=r"no arrivals.*kind: empirical"):
        Workload(options, 0)
    assert options.settled()[0].n_requests == len(select(options, 0)) == 2, "looking at them is fine"
    with pytest.raises(InputError, match="rate_scale: has no arrivals"):
        select(Options(kind="replay", path=str(file), rate_scale=2), 0)


def test_a_trace_file_in_place_of_a_workload_is_replayed_and_said_to_be(path):
    section = load_section("workload", path, fields={"n_requests": 5})
    assert (section.kind, section.options.n_requests, section.options.format) == ("replay", 5, "csv")
    assert section.notes == (f"{path}: csv format, 2,000 requests, of which 5 are replayed",)
    assert len(section.options.sha256) == 64


def test_settled_options_name_the_file_by_content(path, tmp_path):
    settled, _ = Options(kind="replay", path=path).settled()
    assert settled.n_requests == N
    other = tmp_path / "other.csv"
    other.write_text("arrival_s,input_tokens,output_tokens\n0,1,2\n")
    with pytest.raises(InputError, match="not the file that was meant"):
        Workload(settled.model_copy(update={"path": str(other)}), 0)


def test_a_relative_path_is_sought_next_to_the_file_that_has_it(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n0,1,2\n")
    (tmp_path / "here.csv").write_text("arrival_s,input_tokens,output_tokens\n0,1,2\n1,1,2\n")
    workload = tmp_path / "inner" / "w.yaml"
    workload.write_text("schema: papisim/requests/1\nkind: replay\npath: t.csv\nsources: {}\n")
    monkeypatch.chdir(tmp_path)
    assert load_section("workload", "inner/w.yaml").options.n_requests == 1
    assert load_section("workload", "inner/w.yaml", ["workload.path=here.csv"]).options.n_requests == 2
    with pytest.raises(PapisimError, match="no such file"):
        load_section("workload", "inner/w.yaml", ["workload.path=t.csv"])
