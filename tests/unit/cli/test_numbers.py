"""Numbers on the command line are plain, finite and of a size that can be simulated."""

import pytest
from click.testing import CliRunner

from papisim.cli import papisim
from papisim.errors import PapisimError

RUN = ("run", "--hw", "papi", "--trace", "llama7b")
PRICE = ("price", "--hw", "fc_pim", "--op", "linear", "--k", "64", "--n", "64")
HOSTILE = ("1e20", "100000000000000000000", "nan", "inf", "1_0", "١٢", "0x10", "", "9" * 5000, "-1", "1.5", "0")


def refused(*arguments):
    done = CliRunner().invoke(papisim, list(arguments))
    assert done.exit_code == 2, done.output
    assert len(done.output.splitlines()[-1]) < 6000  # the command line's own door cuts lines
    return done.output


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "call",
    [
        (*RUN, "--batch"),
        (*RUN, "--requests"),
        (*RUN, "--replicas"),
        (*RUN, "--tlp"),
        (*PRICE, "--m"),
        (*PRICE, "--count"),
    ],
)
def test_counts(call, value):
    assert f"Invalid value for '{call[-1]}'" in refused(*call, value)


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "1_0", "", "0", "-1"])
def test_steps_and_times(value):
    assert "Invalid value for '--step'" in refused("explain", *RUN[1:], "--step", value)
    assert "Invalid value for '--tpot-ms'" in refused("workload", "inspect", "creative_writing", "--tpot-ms", value)
    assert "Invalid value for '--holdout'" in refused("fit", "acceptance", "x", "--holdout", value)


@pytest.mark.parametrize(
    "assignment",
    [
        "workload.n_requests=1000000000000", "devices.gpu.count=1e20", "devices.gpu.part.attention.efficiency=nan",
        "devices.fc_pim.part.clock_hz=1e300", "devices.fc_pim.part.clock_hz=1e-300", "slo.ttft_s=.inf", "replicas=1_000",
        "placement.alpha={default: .nan}", "placement.alpha=1e-300", "kv.page_tokens=100000000000000000000",
    ],
)  # fmt: skip
def test_fields_of_any_file(assignment):
    done = CliRunner().invoke(papisim, [*RUN, "--set", assignment])
    assert done.exception is not None
    assert getattr(done.exception, "exit_status", done.exit_code) == 2


@pytest.mark.parametrize(
    "section", ["acceptance", "speculation", "drafting", "batching", "workload", "placement", "kv", "slo"]
)
@pytest.mark.parametrize("value", ["7", "[1]", "nan", "{kind: 5}", "{}"])
def test_a_section_that_is_no_mapping(section, value):
    done = CliRunner().invoke(papisim, [*RUN, "--set", f"{section}={value}"])
    assert isinstance(done.exception, (PapisimError, SystemExit)) or done.exit_code == 0, done.exception


@pytest.mark.parametrize("number", ["9" * 5000, "0", "-1", "١"])
@pytest.mark.parametrize(
    "call",
    [
        "fit acceptance none.jsonl --max-steps N",
        "capture llama-68m --device cuda --rlp N",
        "run --hw papi --trace llama7b --batch 1 --timeline t.json --timeline-window N..N",
    ],
)
def test_whole_numbers_inside_options_are_bounded_too(call, number):
    reply = CliRunner().invoke(papisim, [word.replace("N", number) for word in call.split()])
    assert isinstance(reply.exception, (SystemExit, PapisimError)), reply.exception
    assert reply.exit_code != 0
