"""Points of a page that explores a space."""

import json
import shlex
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from papisim.cli import papisim
from papisim.errors import InputError
from papisim.exploration.explorer import FIGURES, Explorer
from papisim.exploration.file import load_sweep
from papisim.exploration.serve import server_of

SPACE = """\
space:
  hw: [papi, gpu_only]
  batch: [1, 4]
  tlp: [1, 2]
  placement: {values: ['pinned:gpu', 'pinned:fc_pim'], when: hw == 'papi'}
derive: {devices.attn_pim.count: {value: 40, when: hw == 'papi'}}
"""
BASE = """\
schema: papisim/sweep/1
description: a test
base:
  trace: llama7b
  set: {workload.lengths: {kind: fixed, input_tokens: 16, output_tokens: 4}}
"""
HERE = {"hw": "papi", "batch": 4, "tlp": 2, "placement": "pinned:fc_pim"}


@pytest.fixture
def explorer(declare) -> Explorer:
    return Explorer(declare(SPACE, BASE))


def test_the_command_of_a_point_prints_its_figures_to_all_digits(explorer):
    point = explorer.point(HERE)
    program, *arguments = shlex.split(point["command"])
    assert program == "papisim"
    assert "devices.attn_pim.count=40" in arguments
    done = CliRunner().invoke(papisim, [*arguments, "--format", "json", "--quiet"])
    assert done.exit_code == 0, done.output
    assert {name: json.loads(done.stdout)[name] for name in FIGURES} == point["figures"]


def test_the_file_of_a_point_is_a_sweep_of_one_point_with_the_same_figures(explorer, tmp_path):
    point = explorer.point(HERE)
    (tmp_path / "point.yaml").write_text(point["yaml"])
    done = CliRunner().invoke(
        papisim, ["sweep", str(tmp_path / "point.yaml"), "--workers", "1", "--format", "json", "-q", "--frame", "csv"]
    )
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert {name: row[name] for name in FIGURES} == point["figures"]


def test_parts_sum_to_the_energy_per_token_and_a_kernel_is_on_a_device_with_a_roof(explorer):
    point = explorer.point(HERE)
    assert sum(point["energy_j"].values()) == pytest.approx(point["figures"]["energy_per_token_j"])
    assert sum(point["fc"].values()) == pytest.approx(1.0)
    roofs = {device: (peak, bandwidth) for device, peak, bandwidth in point["roofs"]}
    assert {device for device, *_ in point["kernels"]} <= roofs.keys()
    assert sum(share for *_, share in point["kernels"]) <= 1.0 + 1e-12


def test_a_point_that_cannot_run_says_why(declare):
    explorer = Explorer(declare("space: {placement: ['pinned:fc_pim'], devices.fc_pim.count: [1, 30]}\n"))
    point = explorer.point({"placement": "pinned:fc_pim", "devices.fc_pim.count": 1})
    assert "do not fit into 'fc_pim'" in point["reason"]
    assert "figures" not in point
    assert "devices.fc_pim.count=1" in point["command"]


def test_a_live_page_offers_numbers_between_those_of_the_space_and_nothing_else(declare):
    still, live = (Explorer(declare(SPACE, BASE), live=live) for live in (False, True))
    batch = [next(each for each in page.page()["axes"] if each["names"] == ["batch"]) for page in (still, live)]
    offered = [[choice["values"]["batch"] for choice in each["choices"]] for each in batch]
    assert offered == [[1, 4], [1, 2, 3, 4]]
    assert batch[1]["stops"] == [0, 3]
    assert batch[1]["start"] == 0, "it starts at the first value of the file"
    given = {**HERE, "batch": 3}
    assert live.asked(given) == given
    without = {name: value for name, value in given.items() if name != "placement"}
    assert live.asked({**given, "hw": "gpu_only"}) == {**without, "hw": "gpu_only"}, "its condition does not hold"
    for wrong in (
        {**HERE, "batch": 5},
        {**HERE, "batch": "3"},
        {**HERE, "hw": "/etc/passwd"},
        {**HERE, "bath": 1},
        without,
        [],
    ):
        with pytest.raises(InputError):
            live.asked(wrong)


def test_charts_run_over_the_batch_and_the_map_over_the_next_number_and_a_space_without_numbers_is_refused(
    explorer, declare
):
    page = explorer.page()
    assert page["axes"][page["across"]]["names"] == ["batch"]
    assert page["axes"][page["second"]]["names"] == ["tlp"]
    assert [page["axes"][index]["names"] for index in page["lines"]] == [["hw"], ["placement"]]
    with pytest.raises(InputError, match="no axis of the space has several numbers"):
        Explorer(declare("space: {hw: [papi, gpu_only]}\n", BASE)).page()


@pytest.mark.parametrize("name", ["design", "machines"])
def test_the_spaces_beside_the_scripts_have_a_page(name):
    explorer = Explorer(load_sweep(Path(__file__).parents[3] / "scripts" / "explore" / f"{name}.yaml"), live=True)
    page = explorer.page()
    start = {name: value for axis in page["axes"] for name, value in axis["choices"][axis["start"]]["values"].items()}
    assert explorer.asked(start)["hw"] == "papi"


@pytest.fixture
def served(declare):
    explorer = Explorer(declare(SPACE, BASE), live=True)
    pages = []
    server = server_of(explorer, lambda data: pages.append(data) or "<html>page</html>")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address, pages[0]["live"], explorer
    server.shutdown()
    server.server_close()


def ask(address, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{address[1]}{path}", data=body, headers=headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_server_answers_this_machine_and_its_own_page_alone(served):
    address, word, explorer = served
    assert address[0] == "127.0.0.1"
    assert ask(address, "/") == (200, "<html>page</html>")
    assert ask(address, "/", Host="evil.example")[0] == 404
    assert ask(address, "/../etc/passwd")[0] == 404
    body = json.dumps(HERE).encode()
    assert ask(address, "/point", body)[0] == 403
    assert ask(address, "/point", body, **{"X-Papisim": word, "Host": "evil.example"})[0] == 403
    own = {"X-Papisim": word}
    status, text = ask(address, "/point", body, **own)
    assert status == 200
    assert json.loads(text)["figures"] == explorer.point(HERE)["figures"]
    assert ask(address, "/point", b"{", **own)[0] == 400
    assert "no axis 'bath'" in ask(address, "/point", json.dumps({**HERE, "bath": 1}).encode(), **own)[1]
