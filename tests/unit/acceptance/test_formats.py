"""Records of engines, benchmarks and acceptance banks stand for the steps that were written into them.

The records follow the public documentation of each program; the small ones with totals are worked by hand.
"""

import csv
import io
import json
from collections import Counter

import pytest

from papisim.acceptance import replay
from papisim.acceptance.log import read_log
from papisim.errors import InputError

ACCEPTED, DRAFTED = [3, 0, 2, 0, 1, 3], [3, 3, 2, 3, 3, 3]


def histogram(accepted, longest=3):
    counts = Counter(accepted)
    return [counts[j] for j in range(longest + 1)]


def totals(accepted=ACCEPTED, drafts=17):
    """What vLLM and AIPerf say of all steps together."""
    return {
        "mean_acceptance_length": 1 + sum(accepted) / len(accepted),
        "draft_acceptance_rate": sum(accepted) / drafts,
        "acceptance_histogram": histogram(accepted),
        "num_spec_steps": len(accepted),
        "num_accepted_draft_tokens": sum(accepted),
        "num_draft_tokens": drafts,
        "num_spec_tokens": 3,
    }


STEPS = {"per_step_accepted": ACCEPTED, "per_step_drafted": DRAFTED}
USAGE = {"prompt_tokens": 7, "completion_tokens": 15}


def in_vllm(stats, **more):
    return {
        "model": "llama",
        "choices": [{"index": 0}],
        "usage": USAGE,
        "metrics": {"speculative_decoding": stats},
        **more,
    }


def in_old_vllm(stats):
    return {"model": "llama", "choices": [{"index": 0, "speculative_decoding_stats": stats}], "usage": USAGE}


def in_aiperf(stats):
    sparse = {str(j): n for j, n in enumerate(stats["acceptance_histogram"]) if n}
    return {
        "spec_decode_acceptance": {"engine": "vllm", **stats, "acceptance_histogram": sparse, "completion_tokens": 15}
    }


@pytest.mark.parametrize(
    ("wrap", "source"),
    [(in_vllm, "llama"), (in_old_vllm, "llama"), (in_aiperf, "vllm"), (lambda stats: stats, "vLLM")],
)
def test_ordered_steps_are_read_as_they_were_made(write_log, wrap, source):
    turn, again = read_log(write_log(*[wrap({**totals(), **STEPS})] * 2))
    assert (
        (turn.accepted.tolist(), turn.drafted.tolist()) == (ACCEPTED, DRAFTED) == (again.accepted.tolist(), DRAFTED)
    )
    assert turn.ordered
    assert turn.source == source
    assert turn.new_tokens == (None if source == "vLLM" else 15)


TRTLLM = {
    "acceptance_rate": 0.5,
    "total_accepted_draft_tokens": 9,
    "total_draft_tokens": 18,
    "num_spec_steps": 6,
    "acceptance_histogram": histogram(ACCEPTED),
    "num_spec_tokens": 3,
}
SGLANG = {
    "completion_tokens": 15,
    "spec_verify_ct": 6,
    "spec_num_proposed_drafts": 18,
    "spec_num_correct_drafts": 9,
    "spec_correct_drafts_histogram": histogram(ACCEPTED),
}


@pytest.mark.parametrize(
    "record",
    [
        in_vllm(totals(drafts=18)),
        in_aiperf(totals(drafts=18)),
        {"choices": [{"speculative_decoding": TRTLLM}], "usage": USAGE},
        {"text": "…", "meta_info": SGLANG},
        {"choices": [{"meta_info": SGLANG}]},
        {"choices": [], "sglext": {"spec_tokens_details": SGLANG}},
        {
            "meta_info": {
                **SGLANG,
                "spec_correct_drafts_histogram": None,
                "spec_accept_histogram": histogram(ACCEPTED),
            }
        },
    ],
)
def test_a_histogram_is_the_steps_without_their_order(write_log, record):
    (turn,) = read_log(write_log(record))
    assert turn.accepted.tolist() == sorted(ACCEPTED)
    assert turn.drafted.tolist() == [3] * 6
    assert not turn.ordered


def test_a_draft_length_that_varied_is_unknown(write_log):
    """17 drafts in 6 steps: not all were of three tokens, and a histogram does not tell which."""
    for record in (in_vllm(totals()), {"meta_info": {**SGLANG, "spec_num_proposed_drafts": 17}}):
        assert read_log(write_log(record))[0].drafted.tolist() == [-1] * 6


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"meta_info": {"spec_verify_ct": 6, "completion_tokens": 15}},
            "SGLang's record has neither steps nor a histogram",
        ),
        (in_vllm({"mean_acceptance_length": 2.5}), "per-request-spec-decode-metrics detailed"),
        ({"speculative_decoding": {**TRTLLM, "acceptance_histogram": [0, 0, 0]}}, "has no step"),
        ({"speculative_decoding": {**TRTLLM, "acceptance_histogram": [1, -2]}}, "expected a whole number"),
        (in_vllm({**totals(), **STEPS, "per_step_drafted": [3, 3]}), "found 2 draft lengths for 6 steps"),
        (in_vllm({**totals(), **STEPS, "per_step_drafted": [3, 3, 1, 3, 3, 3]}), "2 accepted of 1 drafted"),
        ({"model": "llama", "choices": [], "usage": USAGE}, "field is missing"),
    ],
)
def test_a_record_that_lacks_what_a_fit_needs_is_refused_by_name(write_log, record, message):
    path = write_log(in_vllm({**totals(), **STEPS}), record)
    with pytest.raises(InputError, match=message) as caught:
        read_log(path)
    assert (caught.value.place.file, caught.value.place.line) == (str(path), 2)


def test_a_file_may_be_one_list_of_records(tmp_path):
    path = tmp_path / "responses.json"
    path.write_text(json.dumps([in_vllm({**totals(), **STEPS})] * 3, indent=2))
    assert [turn.accepted.tolist() for turn in read_log(path)] == [ACCEPTED] * 3


CONFIDENCE = [[0.9, 0.8, 0.7], [0.2, 0.1, 0.1], [0.8, 0.9]]


def bank(*, turn=0, category="coding"):
    """Rows of a bank: three rounds, the last with a shorter draft, out of order."""
    key = {"model": "qwen", "speculator": "mtp", "config": "", "category": category, "prompt_idx": 4, "turn": turn}
    rows = []
    for index, (accept, confidence) in enumerate(zip((3, 0, 2), CONFIDENCE, strict=True)):
        positions = range(4)
        masks = {f"acc{k}": int(k < accept) if k < len(confidence) else None for k in positions}
        sure = {f"conf{k}": confidence[k] if k < len(confidence) else None for k in positions}
        rows.append({**key, "round_idx": index, "accept": accept, **masks, **sure})
    return rows[::-1]


def as_csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("write", [as_csv, lambda rows: "\n".join(map(json.dumps, rows))])
def test_a_bank_is_turns_with_the_drafts_confidence(tmp_path, write):
    path = tmp_path / "bank"
    path.write_text(write(bank() + bank(turn=1, category="math")))
    first, second = read_log(path)
    assert (first.source, first.task, second.task) == ("qwen/mtp", "coding", "math")
    for turn in (first, second):
        assert turn.accepted.tolist() == [3, 0, 2]
        assert turn.drafted.tolist() == [3, 3, 2]
        assert turn.confidence == tuple(map(tuple, CONFIDENCE))
        assert turn.ordered


def test_a_wrong_cell_of_a_bank_is_named_by_its_line(tmp_path):
    rows = bank()
    rows[1]["conf1"] = 1.5
    path = tmp_path / "bank.csv"
    path.write_text(as_csv(rows))
    with pytest.raises(InputError, match=r'found "1.5", expected a number from 0 to 1') as caught:
        read_log(path)
    assert caught.value.place.field == "conf1"


def test_parquet_is_refused_by_name(tmp_path):
    path = tmp_path / "acceptance.parquet"
    path.write_bytes(b"PAR1\x00\x01")
    with pytest.raises(InputError, match="is Parquet"):
        read_log(path)


@pytest.mark.parametrize("value", [3, [[0.5]], [[0.5], [2.0], []], [0.5, 0.5, 0.5]])
def test_confidence_of_the_own_log_is_a_list_per_step(write_log, value):
    line = {"source": "a", "draft_len": 1, "accepted": [1, 0, 1], "confidence": value}
    with pytest.raises(InputError) as caught:
        read_log(write_log(line))
    assert "confidence" in str(caught.value.place.field)


def replayed(path, **options):
    fields = {"kind": "replay", "log": str(path), "source": "qwen/mtp", "order": "listed", **options}
    return replay.Options(**fields)


def test_a_policy_sees_the_logged_confidence_and_no_more(tmp_path):
    path = tmp_path / "bank.csv"
    path.write_text(as_csv(bank()))
    options = replayed(path)
    assert options.shown == {"confidence"}
    sequence = replay.Acceptance(options, 0).start(0)
    assert sequence.proposal(2).confidence == (0.9, 0.8)
    assert sequence.proposal(9).confidence == (0.9, 0.8, 0.7)
    outcome = sequence.round(2)
    assert (outcome.accepted, outcome.confidence) == (2, (0.9, 0.8))
    assert sequence.proposal(9).confidence == (0.2, 0.1, 0.1)


def test_a_log_without_confidence_shows_none(write_log):
    path = write_log({"source": "qwen/mtp", "draft_len": 3, "accepted": ACCEPTED})
    assert replayed(path).shown == frozenset()
    assert replay.Acceptance(replayed(path), 0).start(0).proposal(3).confidence == ()


def test_histograms_are_not_replayed(write_log):
    path = write_log({"meta_info": SGLANG, "model": "qwen/mtp"})
    with pytest.raises(InputError, match="do not tell the order"):
        replay.Acceptance(replayed(path), 0)
