"""Headlines of other publications as ratios of runs."""

import pytest

import papisim
from papisim.paper.baselines.ratios import Outcome, outcomes, values
from papisim.paper.claims import Study, Verdict
from papisim.paper.figure import Explained, load_paper
from papisim.paper.reproduce import reproduce
from papisim.paper.runner import Lab

PAPER = load_paper("baselines")


def reproduced(name):
    (found,) = reproduce(Lab(PAPER.choices, 1), PAPER.only([name]), {})
    return {row.claim: row for row in found.rows}, found


def shorter(name, *setups, **fields):
    """A study with fewer set-ups and other fields of each, so that it runs quickly."""
    published = PAPER.studies[name].published
    kept = {each: published.setups[each].model_copy(update=fields) for each in setups}
    return Study(name, published.model_copy(update={"setups": kept}))


def test_attacc_beats_gpus_of_equal_memory_by_less_than_the_largest_claim():
    rows, found = reproduced("attacc")
    for row in rows.values():
        assert 1 < row.simulated < row.claimed
        assert row.verdict is Verdict.DIRECTION_HOLDS
    assert {each["setup"] for each in found.table} == {"gpu", "pim"}


def test_a_ratio_is_that_of_the_runs_it_names():
    found = outcomes(PAPER.studies["attacc"])
    alone = papisim.run(
        "a100_attacc",
        "gpt3-175b",
        batch=64,
        set=[
            *PAPER.studies["attacc"].setup("pim").overrides,
            "workload.lengths={kind: fixed, input_tokens: 1024, output_tokens: 1000}",
        ],
    ).summary
    assert found["pim"] == Outcome(alone["throughput_tokens_per_s"], alone["energy_per_token_j"])
    rows, _ = reproduced("attacc")
    ratios = [row.simulated for row in rows.values()]
    assert ratios[0] == pytest.approx(found["pim"].tokens_per_s / found["gpu"].tokens_per_s)
    assert ratios[1] == pytest.approx(found["gpu"].token_j / found["pim"].token_j)


def test_attention_in_memory_is_faster_than_on_the_npus_and_dual_row_buffers_than_turns():
    study = shorter("neupims", "neupims", "npu", "sub_batches", "naive", output_tokens=8)
    found = outcomes(study)
    assert found["neupims"].tokens_per_s > found["npu"].tokens_per_s
    assert found["sub_batches"].tokens_per_s > found["naive"].tokens_per_s
    assert found["sub_batches"].tokens_per_s < found["neupims"].tokens_per_s, (
        "halves of 128 rows read all weights twice"
    )


def test_gemvs_of_every_request_lose_to_gpus_that_share_weights_in_a_batch():
    found = outcomes(shorter("cent", "cent", "gpu", kv_tokens=8, output_tokens=4))
    assert found["cent"].tokens_per_s < found["gpu"].tokens_per_s
    assert found["cent"].token_j > found["gpu"].token_j


#: set-ups whose machine beats the one that it is compared with, and those whose claim does not come out here
BETTER = {
    "duplex": ("duplex", "gpu"),
    "samsung": ("pim", "gpu"),
    "lpddr5x_pim": ("pim", "npu"),
    "tokenstack": ("tokenstack", "attacc"),
}


@pytest.mark.parametrize("name", BETTER)
def test_computing_memory_beats_the_machine_that_its_publication_compares_it_with(name):
    one, other = BETTER[name]
    found = outcomes(shorter(name, one, other, output_tokens=16, kv_tokens=64))
    assert found[one].tokens_per_s > found[other].tokens_per_s
    assert found[one].token_j < found[other].token_j


def test_modules_of_half_a_gpus_bandwidth_are_slower_than_gpus_and_take_less_energy():
    found = outcomes(shorter("cxl_pnm", "pnm", "gpu", output_tokens=8, kv_tokens=8))
    assert found["pnm"].tokens_per_s < found["gpu"].tokens_per_s
    assert found["pnm"].token_j < found["gpu"].token_j


def test_what_is_not_tested_says_why():
    class View:
        setting = staticmethod({"ratios": {}, "not_tested": {"speed": "its set-up was not read"}}.get)
        once = staticmethod(lambda work: {})

    assert values(View) == {"speed": Explained(None, "its set-up was not read")}


def test_a_setup_that_does_not_fit_is_no_ratio():
    study = shorter("attacc", "gpu", "pim", overrides=("devices.gpu.count=1", "links.nvlink.count=1"))
    found = outcomes(study)
    assert "do not fit" in found["gpu"]

    class View:
        setting = staticmethod(study.setting)
        once = staticmethod(lambda work: found)

    assert all(each.value is None and "do not fit" in each.reason for each in values(View).values())


def test_every_entry_gives_a_value_or_a_reason_for_each_claim():
    for study in PAPER.studies.values():
        ratios, untested = study.setting("ratios"), study.setting("not_tested")
        assert set(ratios) | set(untested) == set(study.published.claims)
        assert not set(ratios) & set(untested)
        assert {each for ratio in ratios.values() for each in (ratio["of"], ratio["over"])} <= set(
            study.published.setups
        )
