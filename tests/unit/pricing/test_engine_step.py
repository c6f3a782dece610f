"""Steps of an engine by part: the parts add up, and the step is the one that a simulation runs."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.errors import InputError
from papisim.pricing.engine_step import OF_DEVICES, Composition, Part, StepPricer, by_part

SYNCHRONOUS = ("engine.host.scheduling=synchronous",)


def pricer(*overrides, engine="vllm", hw="h100_single"):
    return StepPricer(load_experiment(RunOptions(hw=hw, trace="llama7b", engine=engine, set=overrides)))


STEPS = {
    "decode": Composition(8, 8, 8 * 1024),
    "drafts": Composition(8, 32, 8 * 1024),
    "prompt": Composition(prompts=((0, 512),)),
    "chunk": Composition(prompts=((512, 512),)),
    "mixed": Composition(8, 8, 8 * 1024, ((0, 512),)),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_parts_add_up_to_the_devices_and_the_host_is_in_series(step):
    found = pricer("engine.host.launch_s=0", *SYNCHRONOUS).price(step)
    assert found.time_s == pytest.approx(sum(found.by_part.values()), rel=1e-9)
    assert found.slowed_s == pytest.approx(found.time_s - found.by_part[Part.HOST], rel=1e-9)
    assert found.slowed_s == pytest.approx(found.devices_s + found.by_part[Part.CLOCK], rel=1e-9)
    assert all(found.by_part[part] > 0 for part in (Part.FC, Part.ATTENTION, Part.SMALL, Part.HOST))


def test_an_asynchronous_step_takes_the_longer_of_host_and_devices():
    step = STEPS["decode"]
    shown = pricer("engine.host.step_s=0.1").price(step)
    hidden = pricer("engine.host.step_s=0.0001").price(step)
    assert shown.time_s == pytest.approx(shown.by_part[Part.HOST])
    assert shown.time_s > 0.1
    assert hidden.time_s == pytest.approx(hidden.devices_s)


def test_without_an_engine_there_is_no_host():
    found = pricer(engine="none").price(STEPS["decode"])
    assert found.by_part[Part.HOST] == 0
    assert found.time_s == pytest.approx(found.devices_s)


def test_a_step_is_the_one_that_a_simulation_runs(serve):
    options = {
        "engine": "vllm",
        "hw": "h100_single",
        "set": (*SYNCHRONOUS, "batching.chunk_tokens=8192"),
        "fast_forward": False,
    }
    run = serve([(0.0, 700, 6), (0.001, 900, 6)], **options)
    prompt, mixed, decode = run.ledger.steps[:3]
    price = StepPricer(run.experiment).price
    assert price(Composition(prompts=((0, 700),))).time_s == pytest.approx(prompt.time_s, rel=1e-9)
    assert price(Composition(1, 1, 700, ((0, 900),))).time_s == pytest.approx(mixed.time_s, rel=1e-9)
    # a log has the sum of the caches alone, so that equal ones are priced
    assert price(Composition(2, 2, 701 + 900)).time_s == pytest.approx(decode.time_s, rel=0.01)
    assert decode.kv_tokens == 701 + 900


def test_each_part_grows_with_what_it_depends_on():
    price = pricer(*SYNCHRONOUS).price
    short, long, wide = (
        price(Composition(8, 8, 8 * 256)),
        price(Composition(8, 8, 8 * 4096)),
        price(Composition(64, 64, 64 * 256)),
    )
    assert long.by_part[Part.ATTENTION] > 2 * short.by_part[Part.ATTENTION]
    assert long.by_part[Part.FC] == short.by_part[Part.FC]
    assert wide.by_part[Part.FC] > short.by_part[Part.FC]
    assert wide.by_part[Part.HOST] > short.by_part[Part.HOST]
    assert short.launches == long.launches > 200


def test_messages_between_ranks_are_a_part():
    tp = ("devices.gpu.count=2", "links.nvlink.count=2", *SYNCHRONOUS)
    two, one = pricer(*tp).price(STEPS["decode"]), pricer(*SYNCHRONOUS).price(STEPS["decode"])
    assert two.by_part[Part.COMMUNICATION] > 0
    assert Part.COMMUNICATION not in one.by_part
    assert two.by_part[Part.FC] < one.by_part[Part.FC]


def test_nothing_takes_no_time_of_devices():
    assert by_part([]) == ({}, 0)
    assert pricer(engine="none").price(Composition()).devices_s == 0
    assert Part.HOST not in OF_DEVICES


@pytest.mark.parametrize("part", [Part.FC, Part.ATTENTION, Part.SMALL])
def test_factors_of_a_profile_lengthen_their_part_alone(part):
    step = STEPS["mixed"]
    plain, slow = pricer().price(step), pricer(f"engine.kernels={{{part.value}_ratio: 1.5}}").price(step)
    assert slow.by_part[part] == pytest.approx(1.5 * plain.by_part[part], rel=1e-9)
    assert {each: slow.by_part[each] for each in OF_DEVICES if each in plain.by_part and each is not part} == {
        each: plain.by_part[each] for each in OF_DEVICES if each in plain.by_part and each is not part
    }


def test_factors_lengthen_stretches_and_single_iterations_alike(serve):
    """Energy above idle is that of the same kernels; with all parts 1.5 times as long, so is the run."""
    free = tuple(f"engine.host.{term}_s=0" for term in ("step", "request", "prompt_token", "launch"))
    free += ("devices.gpu.part.clock=null",)  # at the power limit slower kernels gain clock
    factors = ("engine.kernels={fc_ratio: 1.5, attention_ratio: 1.5, small_ratio: 1.5}",)
    runs = {
        (name, fast): serve([(0.0, 300, 40)], engine="vllm", hw="h100_single", set=(*free, *given), fast_forward=fast)
        for name, given in (("plain", ()), ("slow", factors)) for fast in (True, False)
    }  # fmt: skip
    spans = {key: run.ledger.makespan_s for key, run in runs.items()}
    assert spans["slow", True] == pytest.approx(1.5 * spans["plain", True], rel=1e-9)
    assert spans["slow", False] == pytest.approx(spans["slow", True], rel=1e-9)
    dynamic = {key: sum(run.ledger.energy_by_resource["gpu"]) for key, run in runs.items()}
    assert dynamic["slow", True] == pytest.approx(dynamic["plain", True], rel=1e-9)


def test_the_power_limit_lengthens_prompts_and_no_small_batch_and_a_lower_limit_lengthens_them_more():
    """A step of 2,048 prompt tokens draws more than 700 W at the full clock, decoding of eight requests less."""
    steps = {"prompt": Composition(prompts=((0, 2048),)), "decode": STEPS["decode"]}
    times = {
        watts: {
            name: pricer(f"devices.gpu.part.board_w={watts}", hw="h200_single").price(step)
            for name, step in steps.items()
        }
        for watts in (2000, 700, 400)
    }
    assert times[2000]["prompt"].by_part[Part.CLOCK] == 0
    free_s = times[2000]["prompt"].devices_s
    assert 1.1 < times[700]["prompt"].slowed_s / free_s < 1.3
    assert times[400]["prompt"].slowed_s > 1.4 * free_s
    assert times[700]["decode"].by_part[Part.CLOCK] == 0
    assert times[700]["prompt"].energy_j < times[2000]["prompt"].energy_j
    assert all(of["prompt"].devices_s == pytest.approx(free_s) for of in times.values())


def test_a_run_takes_as_long_as_its_steps_at_their_clock(serve):
    """Prompts of 2,048 tokens, one per step: their makespan is the price of their steps, and busy time adds up to it."""
    options = {"engine": "none", "hw": "h200_single"}
    run = serve(
        [(0.0, 2048, 1)] * 3, **options, set=("batching={kind: chunked_prefill, chunk_tokens: 2048, max_batch: 8}",)
    )
    priced = pricer(**options).price(Composition(prompts=((0, 2048),)))
    assert priced.by_part[Part.CLOCK] > 0
    assert run.ledger.makespan_s == pytest.approx(3 * priced.slowed_s, rel=1e-6)
    assert run.ledger.busy_s["gpu"] == pytest.approx(run.ledger.makespan_s, rel=1e-9)


def test_eager_kernels_have_no_factors():
    with pytest.raises(InputError, match="no library to be compared with"):
        pricer("engine.kernels={fc_ratio: 1.5}", engine="eager")
