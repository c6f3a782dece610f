"""Folding layers and running iterations at once change no reported figure, whatever is simulated.

The oracle simulates every layer of every iteration (``--fold off --fast-forward off``). Configurations are drawn from one
seed, so that a failure names one; scripts/exactness runs two hundred. Where a combination is not modelled, both refuse it.
"""

import os
import random

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.errors import InputError, NotModelled
from papisim.results.frames import frames
from papisim.results.metrics import summarise

CONFIGURATIONS = int(os.environ.get("PAPISIM_CONFIGURATIONS", "24"))

WITH_GPU = ("papi", "gpu_only", "a100_attacc", "a100_hbmpim")
SYSTEMS = ("papi_pim_only", "pim_only", "attacc_only", *WITH_GPU)
#: small and large, grouped queries, experts, biases
MODELS = ("llama-68m", "llama7b", "llama3-8b", "opt30b", "mixtral-8x7b")
POLICIES = ("continuous", "chunked_prefill", "prefill_priority", "dynamic")
#: speculation policies, each with a process that shows what the policy looks at
SPECULATION = (
    ("dsde", "meta_8b"),
    ("gammatune", "meta_8b"),
    ("hf_heuristic", "meta_8b"),
    ("adaedl", "sps_adaptive_vicuna7b"),
    ("synergy", "synergy"),
    ("smartspec", "meta_8b"),
    ("vllm_schedule", "meta_8b"),
)


def configuration(number):
    """The options of a run, drawn by its number."""
    draw = random.Random(number)
    options = {"hw": draw.choice(SYSTEMS), "trace": draw.choice(MODELS), "seed": number, "set": []}
    draw_requests(draw, options)
    draw_drafts(draw, options)
    if draw.random() < 0.3:
        options["placement"] = "cheapest"
    in_turn = number % (len(EXTRAS) + 3)  # three in twelve have none of their own
    for extra in EXTRAS[in_turn : in_turn + 1] + tuple(draw.sample(EXTRAS, draw.choice((0, 0, 1)))):
        extra(draw, options)
    return options


def draw_requests(draw, options):
    requests = draw.randint(1, 9)
    options["requests"] = requests
    if draw.random() < 0.5:
        options["batch"] = draw.randint(1, requests)
    else:
        options |= {"workload": "azure_conversation", "batching": draw.choice(POLICIES), "batch": draw.randint(1, 8)}
        options["set"].append(f"workload.rate_per_s={draw.choice([1, 20, 200])}")
    prompt, answer = draw.choice([(8, 3), (300, 20), (40, 60)])
    options["set"].append(f"workload.lengths={{kind: fixed, input_tokens: {prompt}, output_tokens: {answer}}}")


def draw_drafts(draw, options):
    options["tlp"] = draw.choice([1, 1, 2, 4])
    if options["tlp"] > 1 and draw.random() < 0.5:
        options["acceptance"] = "geometric"
        options["set"].append("acceptance.alpha=0.6")


def speculation(draw, options):
    options["speculation"], options["acceptance"] = draw.choice(SPECULATION)
    options["set"] = [each for each in options["set"] if not each.startswith("acceptance")]
    options["draft"] = draw.choice(
        ["free", "ngram", "eagle_head", *(["llama68m"] if options["hw"] in WITH_GPU else [])]
    )


def asynchronous(draw, options):
    """A small draft model beside the target, on the same device or on another."""
    if options["hw"] not in WITH_GPU:
        options["hw"] = draw.choice(WITH_GPU)
    options["speculation"], options["acceptance"] = draw.choice(
        (("fixed", "geometric"), *SPECULATION[:4], ("saddle", "sps_adaptive_vicuna7b"))
    )
    options.pop("tlp", None)
    options["set"] = [each for each in options["set"] if not each.startswith("acceptance")]
    if options["speculation"] == "fixed":
        options["set"] += ["speculation.tlp=4", "acceptance.alpha=0.7"]
    schedule = draw.choice(["", ", eager: false, pool_tokens: 3", ", pool_tokens: 1", ", pool_tokens: 9"])
    drafting = f"trace: llama-68m, device: gpu, count: 1, schedule: {{kind: asynchronous{schedule}}}"
    options["set"].append(f"drafting={{kind: model, {drafting}}}")


def overlap(draw, options):
    """Of a model with so few layers that all are simulated, since the others' are extrapolated."""
    options["trace"] = "llama-68m"
    options["set"].append(f"overlap.kind={draw.choice(['prompts', 'sub_batches', 'heads'])}")


def pipeline(draw, options):
    stages = draw.choice([2, 4])
    options["hw"] = "gpu_only"
    count = ("devices.gpu.count=8", "links.nvlink.count=8")
    options["set"] += [*count, f"roles.pipeline={{stages: {stages}, link: nvlink}}"]


def replicas(draw, options):
    options |= {"replicas": 2, "router": draw.choice(["round_robin", "least_loaded", "kv_aware", "prefix_aware"])}


def disaggregation(draw, options):
    options |= {
        "hw": draw.choice(["gpu_only", "papi"]),
        "workload": "azure_conversation",
        "batching": "disaggregated",
    }
    options["batch"] = None
    options["set"].append(f"batching.decode_machines={draw.choice([1, 2])}")
    options["set"] = [each for each in options["set"] if "rate_per_s" not in each]


def quantisation(draw, options):
    options["set"].append(f"quantisation.weight_bits={draw.choice([4, 8])}")
    options["set"].append(f"quantisation.kv_bits={draw.choice([8, 16])}")


def fault(draw, options):
    device = "gpu" if options["hw"] in WITH_GPU else "attn_pim"
    what = draw.choice(["stalled_s: 0.25", "stalled_s: 0.003", "lost: true"])
    options["set"].append(f"fault=[{{device: {device}, at_s: {draw.choice([0.0031, 0.0417, 0.3])}, {what}}}]")


def exhaustion(draw, options):
    link = "gpu_to_attn" if options["hw"].startswith("a100") else "nvlink"
    swap = f"kv={{on_exhaustion: swap, swap_link: {link}}}"
    options["set"].append(draw.choice(["kv.reserve=whole", "kv.on_exhaustion=refuse", swap]))


def host(draw, options):
    options["set"].append("verification.bookkeeping_s=100 us")
    options["set"].append(f"verification.overlap_bookkeeping={draw.choice(['true', 'false'])}")


EXTRAS = (
    speculation,
    asynchronous,
    overlap,
    pipeline,
    replicas,
    disaggregation,
    quantisation,
    fault,
    exhaustion,
    host,
)


def figures(options):
    """Everything that a run reports; the refusal, if its options contradict one another or are not modelled."""
    try:
        run = simulate(load_experiment(RunOptions(**options)))
    except (InputError, NotModelled) as refusal:
        return {"refused": f"{type(refusal).__name__}: {refusal}"}
    tables = {name: frame.to_dict("records") for name, frame in frames(run).items()}
    tables["steps"].sort(
        key=lambda step: step["server"]
    )  # several servers' steps are recorded as their stretches end
    return {"summary": summarise(run), **tables}


@pytest.mark.parametrize("number", range(CONFIGURATIONS))
def test_folded_and_fast_forwarded_is_layer_by_layer_and_step_by_step(differences, number):
    options = configuration(number)
    oracle = figures(options | {"fold": False, "fast_forward": False})
    assert differences(figures(options), oracle) == []


def test_every_extra_is_among_the_drawn_configurations():
    drawn = [configuration(number) for number in range(24)]
    texts = [" ".join(map(str, [*options["set"], *options.values()])) for options in drawn]
    words = ("asynchronous", "overlap", "pipeline", "disaggregated", "quantisation", "fault", "kv.", "bookkeeping")
    assert [word for word in words if not any(word in text for text in texts)] == []
    assert sum(options.get("replicas", 1) > 1 for options in drawn) >= 2
    assert sum("speculation" in options for options in drawn) >= 2
