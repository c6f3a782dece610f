"""The kinds that the manual writes out are right, outside the package, and miss each member that they must have when it is taken away."""

import ast
import inspect
import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

import papisim
from papisim import cli
from papisim.conformance.law import judge
from papisim.errors import InputError
from papisim.kinds.families import DECLARED, family_of

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)\n```", re.DOTALL)
FILES = {
    name: f"{text}\n" for page in sorted(HOWTO.glob("*.md")) for name, text in FILE.findall(page.read_text(encoding="utf-8"))
}  # fmt: skip


def class_of(name):
    """Return the class of a file that is a kind: the one with an EXAMPLE."""
    classes = [node for node in ast.parse(FILES[name]).body if isinstance(node, ast.ClassDef)]
    return next(node.name for node in classes if "EXAMPLE" in members(node))


def kind_in(name):
    """Return the class of a file that is a kind."""
    return next(node for node in ast.parse(FILES[name]).body if getattr(node, "name", None) == KINDS[name])


def members(node):
    """Return the statements of a class by the name that each defines."""
    named = {}
    for inner in node.body:
        if isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
            named[inner.name] = inner
        elif isinstance(inner, ast.Assign):
            named[inner.targets[0].id] = inner
    return named


KINDS = {name: class_of(name) for name in FILES if name.endswith(".py")}
#: how a run names each, besides machine and model
RUNS = {
    "narrow.py": {"placement": "narrow.py:Narrow", "set": {"placement.narrow": "fc_pim", "placement.wide": "gpu"}},
    "gently.py": {"batching": {"kind": "gently.py:Gently", "max_batch": 8}},
    "by_length.py": {"router": "by_length.py:ByLength", "replicas": 2, "batching": "continuous"},
    "halving.py": {"speculation": "halving.yaml", "acceptance": "eagle2_chain6_llama3_8b", "draft": "eagle_head"},
    "lookup.py": {"draft": {"kind": "lookup.py:Lookup", "token_s": 2e-5}, "tlp": 4},
    "streaks.py": {"acceptance": "streaks.yaml", "tlp": 4},
    "waves.py": {"workload": "waves.yaml"},
    "minutes.py": {"workload": "log.csv", "set": {"workload.format": "minutes.py:Minutes"}},
    "roofline.py": {"hw": "gpu_only", "set": {"devices.gpu.part": "roofline.yaml"}},
}
each_kind = pytest.mark.parametrize("name", KINDS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a folder that has the files of the manual, and is no part of the repository."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def papisim_says(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["papisim", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


def test_the_manual_writes_out_a_kind_of_every_family_that_is_open(folder):
    """Links aside: one of another kind than latency and bandwidth would be of no use to the engine yet."""
    assert {family_of(f"{name}:{cls}").name for name, cls in KINDS.items()} == set(DECLARED) - {"link"}


@each_kind
def test_every_law_of_its_family_holds(folder, name):
    verdicts = judge(f"{folder / name}:{KINDS[name]}", folder / "examples")
    assert [each for each in verdicts if each.broken] == []
    assert len(verdicts) > 3


@each_kind
def test_it_runs_from_python_and_the_record_says_where_it_is_from(folder, name):
    run = papisim.run(**{"hw": "papi", "trace": "llama7b", **RUNS[name]})
    codes = run.experiment.resolved()["code"].values() if hasattr(run, "experiment") else ()
    assert run.summary["outcomes"]["served"] > 0
    assert [code["path"] for code in codes] in ([], [str(folder / name)])


#: by these, code is known to be of a family; without one only a run that says the family can tell what is missing
TELLING = ("Options", "Part", "detect", "read")
REQUIRED = {*TELLING, "EXAMPLE", "TAKES", "place", "plan", "choose", "draft", "start", "__iter__", "price", "joins_running", "reserves_whole", "must_fit"}  # fmt: skip
#: every member of every kind of the manual that a contract asks for
MEMBERS = [(name, member) for name in KINDS for member in REQUIRED & members(kind_in(name)).keys()]


@pytest.mark.parametrize(("name", "missing"), sorted(MEMBERS))
def test_without_a_member_it_is_refused_by_name(folder, name, missing):
    family = family_of(f"{name}:{KINDS[name]}")
    tree = ast.parse(FILES[name])
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == KINDS[name])
    cls.body.remove(members(cls)[missing])
    for node in ast.walk(cls):  # no annotation may name what is gone
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in (*node.args.args, *node.args.kwonlyargs):
                argument.annotation = None
    (folder / "lacking.py").write_text(ast.unparse(tree), encoding="utf-8")
    reference = f"{folder / 'lacking.py'}:{KINDS[name]}"
    wanted = rf"lacking\.py:\d+: {KINDS[name]}: no (method )?'{missing}.*{family.noun}"
    with pytest.raises(InputError, match=wanted):
        family.load(reference)
    if missing not in TELLING:
        with pytest.raises(InputError, match=wanted):
            judge(reference, folder / "examples")


def test_check_says_which_law_a_kind_breaks_and_ends_with_1(folder, capsys, monkeypatch):
    text = FILES["narrow.py"].replace(
        "return options.narrow if view.rows <= options.rows else options.wide", 'return "tpu"'
    )
    (folder / "wrong.py").write_text(text, encoding="utf-8")
    code, out, err = papisim_says(capsys, monkeypatch, "check", "wrong.py:Narrow", "narrow.py:Narrow")
    assert code == 1
    assert (
        f"{folder}/wrong.py:Narrow: WRONG: A policy names one of the candidates, whatever the batch and the kernel."
        in out
    )
    assert "found: placed on 'tpu'" in out
    assert f"{folder}/narrow.py:Narrow: right: A policy names one of the candidates" in out
    assert "WRONG" not in out.partition(f"{folder}/narrow.py")[2]
    assert "laws do not hold" in err


def test_a_missing_member_ends_every_command_alike(folder, capsys, monkeypatch):
    (folder / "wrong.py").write_text(FILES["narrow.py"].replace("def place(", "def plaice("), encoding="utf-8")
    machine = ["--trace", "llama7b", "--requests", "2"]
    for words in (
        ["check", "wrong.py:Narrow"],
        ["run", "--hw", "papi", *machine, "--placement", "wrong.py:Narrow"],
        ["compare", "--hw", "papi", "--hw", "papi@wrong.py:Narrow", *machine],
    ):
        code, _, err = papisim_says(capsys, monkeypatch, *words)
        assert code == 2
        assert re.search(
            r"wrong.py:6: Narrow: no method 'place\(self, view\)', which every placement policy has", err
        ), err
        assert "did you mean 'plaice'?" in err
        assert "Traceback" not in err


def test_options_of_a_placement_from_outside_are_set_on_the_command_line(folder, capsys, monkeypatch):
    options = ["--set", "placement.narrow=fc_pim", "--set", "placement.wide=gpu", "--format", "json"]
    run = ["run", "--hw", "papi", "--trace", "llama7b", "--batch", "4", "--placement", "narrow.py:Narrow", *options]
    times = []
    for rows in ("1", "1000"):
        code, out, err = papisim_says(capsys, monkeypatch, *run, "--set", f"placement.rows={rows}")
        assert code == 0, err
        assert json.loads(out)["placement"]["rows"] == int(rows)
        times.append(json.loads(out)["makespan_s"])
    pinned = [
        "run",
        "--hw",
        "papi",
        "--trace",
        "llama7b",
        "--batch",
        "4",
        "--placement",
        "pinned:fc_pim",
        "--format",
        "json",
    ]
    assert times[1] == json.loads(papisim_says(capsys, monkeypatch, *pinned)[1])["makespan_s"] != times[0]


SWEEP = """
schema: papisim/sweep/1
description: Policies from outside, beside the file
base: {hw: papi, trace: llama7b, batch: 2, requests: 2, acceptance: streaks.yaml, draft: eagle_head}
space:
  speculation: [halving.yaml, {kind: "halving.py:Halving", max_length: 2}]
  placement: ["last.py:Last", "pinned:gpu"]
"""


def test_a_sweep_finds_code_beside_its_file_in_every_worker(folder, capsys, monkeypatch, tmp_path_factory):
    last = inspect.cleandoc('''
        from papisim.kinds import Example
        from papisim.policies.placement.base import PlacementOptions


        class Last:
            """The last device that can."""

            class Options(PlacementOptions):
                """Nothing to choose."""

            EXAMPLE = Example()

            def __init__(self, options):
                pass

            def place(self, view):
                return view.candidates[-1]
    ''')
    (folder / "last.py").write_text(last, encoding="utf-8")
    (folder / "sweep.yaml").write_text(SWEEP, encoding="utf-8")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    words = ["sweep", str(folder / "sweep.yaml"), "--out", "out", "--workers", "2", "--quiet"]
    code, out, err = papisim_says(capsys, monkeypatch, *words)
    assert code == 0, out + err
    frame = pd.read_parquet(elsewhere / "out" / "frame.parquet")
    assert frame.status.tolist() == ["ok"] * 4
    assert frame.throughput_tokens_per_s.nunique() == 4, "each point is another run"


def test_entry_points_are_listed_and_run(folder, capsys, monkeypatch):
    info = folder / "their_policies-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-policies\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[papisim.speculation]\nhalving = halving:Halving\n")
    monkeypatch.syspath_prepend(str(folder))
    code, out, _ = papisim_says(capsys, monkeypatch, "list", "kinds", "--format", "json")
    assert code == 0
    assert json.loads(out)["kinds"]["speculation policies"].endswith(", halving")
    run = ["run", "--hw", "papi", "--trace", "llama7b", "--batch", "2", "--requests", "2", "--speculation", "halving"]
    run += ["--acceptance", "always", "--draft", "free"]
    code, out, err = papisim_says(capsys, monkeypatch, *run, "--set", "speculation.max_length=4", "--format", "json")
    assert code == 0, err
    assert json.loads(out)["speculation"] == {"kind": "halving", "max_length": 4}


@pytest.fixture
def faulty(folder):
    """A placement policy that asks a table for a device that is not in it."""
    text = FILES["narrow.py"].replace("return options.narrow if view.rows", 'return {}["nowhere"] if view.rows')
    text = text.replace("narrow: str", 'narrow: str = "fc_pim"').replace("wide: str", 'wide: str = "gpu"')
    (folder / "faulty.py").write_text(text, encoding="utf-8")
    line = 1 + text[: text.index('{}["nowhere"]')].count("\n")
    return f"{folder / 'faulty.py'}:{line}: Narrow.place raised KeyError: 'nowhere'"


def test_what_code_from_outside_raises_is_one_message_with_file_line_and_class(faulty, capsys, monkeypatch):
    asked = ("run", "--hw", "papi", "--trace", "llama7b", "--batch", "1", "--placement", "faulty.py:Narrow")
    status, out, said = papisim_says(capsys, monkeypatch, *asked)
    assert (status, out) == (2, "")
    assert said == f"papisim: error: {faulty}\n"


def test_a_law_that_code_from_outside_breaks_says_where(faulty, capsys, monkeypatch):
    status, out, _ = papisim_says(capsys, monkeypatch, "check", "faulty.py:Narrow")
    assert status == 1
    assert f"found: {faulty}" in out


def test_a_point_whose_code_from_outside_raises_has_failed_and_the_sweep_goes_on(faulty, capsys, monkeypatch):
    space = {"placement": ["pinned:gpu", "faulty.py:Narrow"]}
    base = {"hw": "papi", "trace": "llama7b", "batch": 1, "requests": 1}
    sweep = {"schema": "papisim/sweep/1", "description": "A policy with a fault.", "base": base, "space": space}
    Path("s.yaml").write_text(json.dumps(sweep), encoding="utf-8")
    _, out, said = papisim_says(capsys, monkeypatch, "sweep", "s.yaml", "--format", "json", "--workers", "1")
    rows = json.loads(out)["rows"]
    assert [row["status"] for row in rows] == ["ok", "failed"], said
    assert rows[1]["reason"] == faulty


def test_a_fault_of_papisim_keeps_its_traceback(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["papisim", "list"])
    monkeypatch.setattr("papisim.cli.list.catalog.shipped", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main()
