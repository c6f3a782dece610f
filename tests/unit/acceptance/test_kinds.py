"""Each kind against its closed form, its log, or the process it was written from."""

import numpy as np
import pytest

from papisim.acceptance import always, early_exit, fitted, geometric, power_law, replay, tree
from papisim.acceptance.base import ACCEPTANCE
from papisim.config.sections import load_section
from papisim.errors import InputError, NotModelled

CHAIN = (0,), (0, 0), (0, 0, 0)


def geometric_process(alpha, seed=0, **more):
    return geometric.Acceptance(geometric.Options(kind="geometric", alpha=alpha, **more), seed)


def accepted(process, drafted, requests=20, rounds=1000):
    sequences = [process.start(request) for request in range(requests)]
    return np.array([[sequence.round(drafted).accepted for _ in range(rounds)] for sequence in sequences])


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.761, 0.95, 1.0])
def test_geometric_acceptance_has_the_mean_of_a_geometric_series(alpha):
    """Leviathan et al., Equation 1, less the bonus token; the standard error of 20,000 rounds is below 0.016."""
    mean = accepted(geometric_process(alpha), 5).mean()
    assert mean == pytest.approx(sum(alpha**j for j in range(1, 6)), abs=0.06)


@pytest.mark.parametrize("drafted", [1, 2, 4, 10])
def test_power_law_acceptance_has_the_mean_that_names_it(drafted):
    options = power_law.Options(kind="power_law", c=0.9, gamma=0.548)
    mean = accepted(power_law.Acceptance(options, 0), drafted).mean()
    assert mean == pytest.approx(0.9 * drafted**0.548, rel=0.02)


def test_the_survival_of_a_power_law_adds_up_to_it():
    options = power_law.Options(kind="power_law", c=0.7, gamma=0.4)
    assert sum(options.survival(j) for j in range(1, 51)) == pytest.approx(0.7 * 50**0.4, rel=1e-12)


def test_everything_is_accepted_by_always_and_the_draft_is_certain_of_it():
    sequence = always.Acceptance(always.Options(kind="always"), 0).start(3)
    outcome = sequence.round(4)
    assert (outcome.accepted, outcome.kld, outcome.confidence, outcome.entropy) == (4, (0,) * 4, (1,) * 4, (0,) * 4)
    assert sequence.proposal(2).confidence == (1, 1)
    assert sequence.round_tree(((0,), (1,), (1, 0))).accepted == 2


def tree_process(hit, seed=0):
    return tree.Acceptance(tree.Options(kind="tree", hit=hit), seed)


def test_a_tree_accepts_on_average_the_sum_of_its_nodes_path_probabilities():
    hit = [[0.6, 0.2, 0.1], [0.5, 0.3]]
    nodes = ((0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (0, 0, 1))
    process = tree_process(hit)
    rounds = [process.start(request) for request in range(20)]
    mean = np.mean([sequence.round_tree(nodes).accepted for sequence in rounds for _ in range(1000)])
    options = tree.Options(kind="tree", hit=hit)
    expected = sum(options.path_probability(node) for node in nodes)
    assert expected == pytest.approx(0.6 + 0.2 + 0.1 + 0.3 + 0.18 + 0.1 + 0.09)
    assert mean == pytest.approx(expected, abs=0.03)


def test_a_chain_is_the_tree_of_first_choices():
    hit = [[0.7, 0.2]]
    one, other = tree_process(hit).start(1), tree_process(hit).start(1)
    assert [one.round(3).accepted for _ in range(200)] == [other.round_tree(CHAIN).accepted for _ in range(200)]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [(((0, 1),), "without its parent"), (((),), "at least one"), (((-1,),), "ranks from 0")],
)
def test_what_is_no_tree_is_refused(nodes, message):
    with pytest.raises(InputError, match=message):
        tree_process([[0.5]]).start(0).round_tree(nodes)


def test_hit_probabilities_of_a_depth_sum_to_at_most_one():
    with pytest.raises(ValueError, match=r"depth 2 that sum to 1\.1"):
        tree_process([[0.5], [0.6, 0.5]])


BRANCHING = {"branches": [0.5, 0.25]}


def chain_process(**fields):
    return geometric.Acceptance(geometric.Options(kind="geometric", alpha=0.6, **fields), 0)


def test_a_tree_earns_what_its_further_choices_are_right_in():
    """Closed form: the two first choices emit α + α², a second one at depth 1 (1 − α)/2, and a first one after it α times that."""
    tree = ((0,), (1,), (0, 0), (1, 0))
    sequences = [chain_process(**BRANCHING).start(request) for request in range(20)]
    mean = np.mean([sequence.round_tree(tree).accepted for sequence in sequences for _ in range(1000)])
    assert mean == pytest.approx((0.6 + 0.2) * (1 + 0.6), abs=0.02)


def test_a_tree_leaves_the_chain_of_first_choices_as_it_was():
    one, other = (chain_process(**BRANCHING).start(3) for _ in range(2))
    trees, chains = zip(
        *[(one.round_tree(((0,), (1,), (0, 0))).accepted, other.round(2).accepted) for _ in range(300)], strict=True
    )
    assert all(tree in {chain, 1} and tree >= chain for tree, chain in zip(trees, chains, strict=True))
    assert trees != chains


def test_a_tree_is_refused_where_no_second_choices_are_known():
    with pytest.raises(NotModelled, match=r"acceptance\.branches"):
        chain_process().start(0).round_tree(((0,), (1,)))
    levels = chain_process(topology="tree").start(0)
    assert levels.round_tree(((0,), (1,))).accepted in {0, 1}


def test_acceptance_falls_with_the_temperature():
    hot = {"tempering": {"observed_at": 0, "log_odds": -0.65}}
    cold, warm = (geometric.Options(kind="geometric", alpha=0.8, temperature=t, **hot) for t in (0, 1))
    assert cold.at_temperature(0.8) == 0.8
    assert warm.at_temperature(0.8) == pytest.approx(1 / (1 + 0.25 * np.exp(0.65)))
    with pytest.raises(ValueError, match="without 'tempering'"):
        geometric.Options(kind="geometric", alpha=0.8, temperature=1)


def test_only_early_exit_knows_exit_layers():
    with pytest.raises(NotModelled, match="early_exit"):
        geometric_process(0.7).start(0).round(3, exit_layer=4)


TURNS = [
    {"source": "a", "task": "x", "draft_len": 3, "accepted": [3, 0, 1, 2]},
    {"source": "a", "task": "y", "draft_len": [2, 4, 1], "accepted": [2, 1, 0]},
    {"source": "b", "draft_len": None, "accepted": [9]},
]


def replay_process(path, seed=0, **more):
    fields = {"kind": "replay", "log": str(path), "source": "a", "order": "listed"}
    return replay.Acceptance(replay.Options(**fields | more), seed)


def test_replay_gives_the_log_cut_to_the_draft_without_the_last_step(write_log):
    process = replay_process(write_log(*TURNS))
    assert [process.start(0).round(s).accepted for s in (0, 1, 2, 3)] == [0, 1, 2, 3]
    sequence = process.start(0)
    assert [sequence.round(3).accepted for _ in range(3)] == [3, 0, 1]
    assert [sequence.round(3).accepted for _ in range(3)] == [2, 1, 3]  # the next turn, and the first again


def test_replay_takes_tokens_beyond_the_log_for_wrong_and_counts_such_rounds(write_log):
    process = replay_process(write_log(*TURNS))
    sequence = process.start(0)
    assert [sequence.round(5).accepted for _ in range(3)] == [3, 0, 1]
    assert process.capped_rounds == 1


def test_replay_can_refuse_drafts_beyond_the_log(write_log):
    sequence = replay_process(write_log(*TURNS), longer="refuse").start(0)
    with pytest.raises(InputError, match="draft of 5 tokens, of which the log has 3"):
        sequence.round(5)


def test_replay_of_unknown_draft_lengths_is_never_capped(write_log):
    process = replay_process(write_log(*TURNS), source="b", longer="refuse")
    assert process.start(0).round(20).accepted == 9


def test_replay_uses_every_turn_once_before_any_twice(write_log):
    turns = [{"source": "a", "draft_len": 9, "accepted": [first, 0]} for first in range(8)]
    process = replay_process(write_log(*turns), seed=4, order="shuffled")
    firsts = [process.start(request).round(9).accepted for request in range(16)]
    assert sorted(firsts[:8]) == sorted(firsts[8:]) == list(range(8))
    assert firsts[:8] != list(range(8))
    assert firsts[:8] != firsts[8:]


@pytest.mark.parametrize(
    ("more", "message"), [({"source": "aa"}, "no source 'aa'"), ({"task": "z"}, "no task 'z'; known: x, y")]
)
def test_replay_of_what_is_not_in_the_log_is_refused(write_log, more, message):
    with pytest.raises(InputError, match=message):
        replay_process(write_log(*TURNS), **more)


def fitted_options(**more):
    fields = {
        "kind": "fitted",
        "conditional": [0.8, 0.6],
        "level": {"probabilities": [0, 1], "log_odds": [0, 0]},
        "state": {"share": 0.0, "memory": 0.0},
    }
    return fitted.Options(**fields | more)


def test_a_fitted_process_without_level_and_state_has_its_conditional_acceptances():
    drawn = accepted(fitted.Acceptance(fitted_options(), 0), 4)
    for position, share in enumerate([0.8, 0.48, 0.288, 0.1728], start=1):
        assert (drawn >= position).mean() == pytest.approx(share, abs=0.015)


def test_the_state_correlates_rounds_and_the_level_requests():
    still = accepted(fitted.Acceptance(fitted_options(), 0), 4)
    state = accepted(fitted.Acceptance(fitted_options(state={"share": 0.8, "memory": 0.9}), 0), 4)
    level = {"probabilities": [0, 1], "log_odds": [-2, 2]}
    levelled = accepted(fitted.Acceptance(fitted_options(level=level), 0), 4)

    def lag1(drawn):
        return np.corrcoef(drawn[:, 1:].ravel(), drawn[:, :-1].ravel())[0, 1]

    assert abs(lag1(still)) < 0.03
    assert lag1(state) > 0.4
    assert state.mean() == pytest.approx(still.mean(), abs=0.1)
    assert levelled.mean(axis=1).std() > 10 * still.mean(axis=1).std()


EXIT = {
    "kind": "early_exit",
    "n_layers": 8,
    "layers": [1, 4, 7],
    "acceptance": [0.4, 0.8, 0.95],
    "level_deviation": 0.0,
    "state_deviation": 0.0,
    "state_memory": 0.9,
    "sharing": 0.8,
    "surprise": {"agreeing": 0.1, "disagreeing": 1.0, "deviation": 0.5},
}


def test_a_layer_agrees_as_often_as_the_table_says_and_deeper_ones_more_often():
    sequence = early_exit.Acceptance(early_exit.Options(**EXIT), 0).start(0)
    rounds = [sequence.round(18, 4) for _ in range(400)]
    share = np.mean([outcome.layers.agrees for outcome in rounds], axis=(0, 1))
    assert share.shape == (7,)
    assert share[[0, 3, 6]] == pytest.approx([0.4, 0.8, 0.95], abs=0.02)
    assert np.all(np.diff(share) > 0)


def test_the_end_of_the_prompt_is_told_once_and_is_as_right_as_the_answer():
    process = early_exit.Acceptance(early_exit.Options(**EXIT | {"state_deviation": 0, "level_deviation": 0}), 0)
    prompts = []
    for request in range(20):
        sequence = process.start(request)
        prompts.append(sequence.round(2, 4).prompt)
        assert sequence.round(2, 4).prompt is None
    share = np.mean([prompt.agrees for prompt in prompts], axis=(0, 1))
    assert share[[0, 3, 6]] == pytest.approx([0.4, 0.8, 0.95], abs=0.04)


def test_a_request_has_an_offset_of_its_own_in_confidence():
    def mean_confidence(deviation):
        surprise = {"agreeing": 0.5, "disagreeing": 1.0, "deviation": 0.1, "level_deviation": deviation}
        process = early_exit.Acceptance(early_exit.Options(**EXIT | {"surprise": surprise}), 0)
        return [process.start(request).round(1, 4).prompt.confidence.mean() for request in range(20)]

    assert np.std(mean_confidence(1.0)) > 5 * np.std(mean_confidence(0.0))


def test_the_exit_layer_decides_what_is_accepted_and_the_first_disagreement_ends_it():
    process = early_exit.Acceptance(early_exit.Options(**EXIT), 0)
    for layer in (1, 4, 7):
        sequence = process.start(0)
        for _ in range(50):
            shown = sequence.proposal(6, layer)
            outcome = sequence.round(6, layer)
            agrees = outcome.layers.agrees[:, layer - 1]
            assert agrees[: outcome.accepted].all()
            assert outcome.accepted == 6 or not agrees[outcome.accepted]
            assert outcome.confidence == shown.confidence == tuple(outcome.layers.confidence[:6, layer - 1])
            assert outcome.layers.agrees.shape == (7, 7)


@pytest.mark.parametrize("layer", [None, 0, 8])
def test_a_layer_that_is_not_there_is_refused(layer):
    with pytest.raises(InputError, match="expected 1 to 7"):
        early_exit.Acceptance(early_exit.Options(**EXIT), 0).start(0).round(3, layer)


@pytest.mark.parametrize(
    ("name", "layer", "emitted"), [("layerskip_llama3_8b", 3, 4.21), ("layerskip_llama2_70b", 9, 3.78)]
)
def test_the_shipped_layerskip_models_emit_what_del_reports(name, layer, emitted):
    """Tokens per layer of the fixed setting (exit layer, draft of 6), times the layers loaded; DEL, poster table."""
    process = ACCEPTANCE.build(load_section("acceptance", name).options, 1)
    mean = np.mean([process.start(r).round(6, layer).accepted + 1 for r in range(3000)])
    assert mean == pytest.approx(emitted, rel=0.05)


@pytest.mark.parametrize(("name", "tokens"), [("meta_8b", 2.78), ("meta_70b", 2.94), ("meta_maverick", 2.75)])
def test_the_shipped_eagle_heads_emit_what_meta_reports_of_a_chain_of_three(name, tokens):
    hit = load_section("acceptance", name).options.hit[0][0]
    assert 1 + hit + hit**2 + hit**3 == pytest.approx(tokens, rel=0.005)
