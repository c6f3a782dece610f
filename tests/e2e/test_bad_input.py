"""What a user gets for a mistake: one clear message on stderr, exit status 2, and nothing written."""

import subprocess
import sys

import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.cli import main

RUN = ["run", "--hw", "gpu_only", "--trace", "llama7b", "--batch", "2", "--quiet", "--out", "results"]


@pytest.fixture
def papisim(tmp_path, monkeypatch, capsys):
    """Return a function that calls the command line in an empty folder and checks how it ends."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, status=2):
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["papisim", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert end.value.code == status, err
        if status:
            assert sorted(tmp_path.rglob("*")) == before, "a refused call writes nothing"
            assert out == ""
            assert err.count("rror: ") == 1
            assert "Traceback" not in err
        return err

    return call


def run(**options):
    """Return the arguments of a run with some options replaced."""
    arguments = list(RUN)
    for name, value in options.items():
        flag = f"--{name}"
        if flag in arguments:
            arguments[arguments.index(flag) + 1] = value
        else:
            arguments += [flag, value]
    return arguments


def test_the_call_that_all_others_here_spoil_is_right(papisim, tmp_path):
    assert papisim(*RUN, status=0) == ""
    assert (tmp_path / "results" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hw": "gpu_onyl"}, "no hardware 'gpu_onyl': neither a file nor a shipped name; did you mean 'gpu_only'?"),
        ({"hw": "missing/machine.yaml"}, "no hardware 'missing/machine.yaml': there is no such file; known: "),
        ({"hw": "."}, "no hardware '.'"),
        ({"trace": "lama7b"}, "no kernel trace 'lama7b': neither a file nor a shipped name; did you mean 'llama7b'?"),
        ({"trace": "missing/trace.yaml"}, "no kernel trace 'missing/trace.yaml'"),
        ({"workload": "creative_righting"}, "no workload 'creative_righting'"),
        ({"placement": "papy"}, "--placement papy: placement.kind: unknown placement policy 'papy'; did you mean"),
        ({"placement": "pinned:fc_pim"}, "--placement pinned:fc_pim: placement.device: 'fc_pim' runs no FC kernels"),
        ({"batch": "-1"}, "Invalid value for '--batch': -1 is not in the range 1<=x<=10000000"),
        ({"batch": "0"}, "Invalid value for '--batch'"),
        ({"requests": "-1"}, "Invalid value for '--requests'"),
        ({"tlp": "0"}, "Invalid value for '--tlp'"),
        ({"seed": "-1"}, "Invalid value for '--seed'"),
        ({"fold": "maybe"}, "Invalid value for '--fold'"),
        ({"format": "xml"}, "Invalid value for '--format'"),
        ({"bach": "4"}, "No such option"),
    ],
)
def test_a_wrong_option_is_refused(papisim, options, said):
    assert said in papisim(*run(**options))


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("devices.gpu.count", "expected PATH=VALUE"),
        ("=8", "expected PATH=VALUE"),
        ("devices.gpu..count=8", "expected PATH=VALUE"),
        ("devices.gppu.count=8", "no field 'gppu' in devices; did you mean 'gpu'?"),
        ("devices.gpu.cuont=8", "devices.gpu.cuont: unknown field; did you mean 'count'?"),
        ("devices.gpu.count=many", "devices.gpu.count: found 'many', expected a whole number"),
        ("devices.gpu.count=-6", "devices.gpu.count: found -6, expected greater than or equal to 1"),
        ("devices.gpu.count=true", "devices.gpu.count: found true, expected a whole number"),
        ("devices.gpu.count=[1", "is not valid YAML"),
        ("devices.gpu.part=a10", "no device 'a10': neither a file nor a shipped name; did you mean 'a100'?"),
        ("devices.gpu.part.static_w=5 GB", "static_w: found '5 GB', which is a quantity in bytes; expected"),
        ("devices.gpu.part.static_w=5 horses", "static_w: found '5 horses', 'horses' is no unit known here"),
        ("devices.gpu.part.static_w=-5 W", "static_w: found -5.0, expected greater than or equal to 0"),
        ("roles.kv=memory", "roles.kv: no device 'memory' in this system"),
        ("roles.fc[3]=gpu", "the list ends at [0]"),
        ("workload.n_requests=-8", "n_requests: found -8, expected greater than or equal to 1"),
        ("workload.length=5", "length: unknown field; did you mean 'lengths'?"),
        ("batching.kind=continuouse", "kind: unknown batching policy 'continuouse'"),
        ("speculation.kind=schedul", "kind: unknown speculation policy 'schedul'; did you mean 'schedule'?"),
        ("seed=5", "seed: unknown field"),
        ("devices.gpu.count=!!python/name:os.system x", "tags are not accepted here"),
    ],
)
def test_a_wrong_override_is_refused_at_the_override(papisim, assignment, said):
    err = papisim(*RUN, "--set", assignment)
    assert err.startswith(f"papisim: error: --set {assignment}:")
    assert said in err


HW = catalog.shipped(Shelf.SYSTEM)["gpu_only"]
TRACE = catalog.shipped(Shelf.TRACE)["llama7b"]
WORKLOAD = catalog.shipped(Shelf.REQUESTS)["creative_writing"]


@pytest.mark.parametrize(
    ("option", "path", "old", "new", "said"),
    [
        ("hw", HW, "elementwise:", "elementwize:", "roles.elementwize: unknown field; did you mean 'elementwise'?"),
        ("hw", HW, "count: 6", "count: six", "devices.gpu.count: found 'six', expected a whole number"),
        ("hw", HW, "papisim/system/1", "papisim/system/2", "schema: found 'papisim/system/2', expected"),
        ("hw", HW, "attention: gpu\n", "attention: gpu\n  attention: gpu\n", "roles.attention: stands twice"),
        ("hw", HW, "  links: {choice", "  roles: {choice", "links.nvlink.count: has no entry in 'sources'"),
        ("hw", HW, "roles:", "roles: [", "is not valid YAML"),
        ("trace", TRACE, "schema: papisim/kernel-trace/1", "schema: papisim/kernel-trace/9", "schema"),
        (
            "trace",
            TRACE,
            "n_heads: 32",
            "n_heads: -32",
            "model.n_heads: found -32, expected greater than or equal to 0",
        ),
        ("trace", TRACE, "n_layers: 32", "n_layers: 31", "expected each of the model's 31 layers once"),
        ("trace", TRACE, "float16[RLP, TLP, 4096]", "float16[RLP, TLP, 4096", "expected a tensor such as"),
        ("trace", TRACE, "kernel_class: embedding", "kernel_class: !!python/name:os.system", "tags are not accepted"),
        (
            "workload",
            WORKLOAD,
            "closed_batch",
            "closed_bach",
            "kind: unknown workload 'closed_bach'; did you",
        ),
        ("workload", WORKLOAD, "rank_correlation: ", "rank_correlation: high", "rank_correlation: found 'high"),
        (
            "workload",
            WORKLOAD,
            "probabilities: [0,",
            "probabilities: [0.5,",
            "'probabilities' must ascend from 0 to 1",
        ),
        ("workload", WORKLOAD, "input_tokens: [1,", "input_tokens: [1, 1,", "found 37 entries in 'input_tokens'"),
    ],
)
def test_a_corrupt_file_is_refused_with_its_place(papisim, tmp_path, option, path, old, new, said):
    text = path.read_text(encoding="utf-8")
    assert old in text, "the corruption must do something"
    (tmp_path / "bad.yaml").write_text(text.replace(old, new), encoding="utf-8")
    err = papisim(*run(**{option: "bad.yaml"}))
    assert err.startswith("papisim: error: bad.yaml:")
    assert said in err
    assert papisim("check", "bad.yaml").startswith("papisim: error: bad.yaml:")


@pytest.mark.parametrize("option", ["hw", "trace", "workload"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty, expected a YAML mapping"),
        (b"\n# only a comment\n", "is empty, expected a YAML mapping"),
        (b"just text\n", "found 'just text', expected a mapping of fields"),
        (b"\x89PNG\r\n\x1a\n\xff", "is not UTF-8 text"),
        (b"a: \x00\n", "is not valid YAML"),
        (b"a: " + b"[" * 5000, "is not valid YAML"),
        (b"a: &x [1]\nb: *x\n", "aliases are not accepted here"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(papisim, tmp_path, option, content, said):
    (tmp_path / "bad.yaml").write_bytes(content)
    assert said in papisim(*run(**{option: "bad.yaml"}))


def test_a_trace_cut_short_is_refused(papisim, tmp_path):
    text = TRACE.read_text(encoding="utf-8")
    folder = tmp_path / "short"
    folder.mkdir()
    for share in (0.1, 0.5, 0.9):
        (folder / "trace.yaml").write_text(text[: int(share * len(text))], encoding="utf-8")
        assert papisim(*run(trace="short")).startswith("papisim: error: short/trace.yaml:")


@pytest.mark.parametrize(
    ("options", "said", "lever"),
    [
        ({"batch": "20000"}, "the KV caches of a batch of 20000 requests do not fit into 'gpu'", "--batch "),
        (
            {"set": "workload.lengths={kind: fixed, input_tokens: 9000000, output_tokens: 1}"},
            "the KV caches of a batch of 2 requests do not fit into 'gpu'",
            "--batch 1",
        ),
        (
            {"trace": "gpt3-175b", "set": "devices.gpu.count=4"},
            "the weights of gpt3-175b do not fit into 'gpu'",
            "count=5",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would_help(papisim, options, said, lever):
    err = papisim(*run(**options))
    assert said in err
    assert " GB needed, " in err
    assert lever in err.partition("; try: ")[2]


def test_the_levers_offered_do_help(papisim):
    papisim(*run(trace="gpt3-175b", set="devices.gpu.count=5"), status=0)


@pytest.mark.parametrize("name", sorted(catalog.shipped(Shelf.SYSTEM)))
def test_no_shipped_system_takes_more_than_it_holds(papisim, name):
    # experts are dealt out to the ranks of some; those of a whole rack hold the caches of thousands of long requests
    trace, tokens = ("qwen3-235b-a22b", 30_000) if name.endswith("_ep") else ("llama7b", 2000)
    long = f"workload.lengths={{kind: fixed, input_tokens: {tokens}, output_tokens: 40}}"
    assert "do not fit into" in papisim(*run(hw=name, trace=trace, batch="10000", set=long))


def test_results_are_never_written_over_other_files(papisim, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.tex").write_text("years of work")
    assert "--out results is not empty" in papisim(*RUN)
    assert "holds no papisim results; it is not replaced even with --force" in papisim(*RUN, "--force")
    (tmp_path / "file").write_text("x")
    assert "--out file is a file, expected a folder" in papisim(*run(out="file"))


def test_results_are_replaced_when_asked_and_only_then(papisim, tmp_path):
    papisim(*RUN, status=0)
    first = (tmp_path / "results" / "summary.json").read_text()
    assert "--out results is not empty" in papisim(*run(batch="3"))
    assert (tmp_path / "results" / "summary.json").read_text() == first
    papisim(*run(batch="3"), "--force", status=0)
    assert (tmp_path / "results" / "summary.json").read_text() != first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "no command 'rnu'; did you mean 'run'?"),
        (["run", "--hw", "gpu_only"], "Missing option '--trace'"),
        (["compare", "--hw", "gpu_only", "--hw", "gpu_onyl", "--trace", "llama7b"], "no hardware 'gpu_onyl'"),
        (["compare", "--hw", "gpu_only@pinned:x", "--trace", "llama7b"], "'x' runs no FC kernels in this system"),
        (["calibrate", "alpha", "--hw", "gpu_only"], "α belongs to placement kind 'papi'"),
        (["check", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["list", "machines"], "'machines' is not one of"),
    ],
)
def test_other_commands_refuse_the_same_way(papisim, arguments, said):
    assert said in papisim(*arguments)


def test_check_tells_all_that_is_wrong_in_all_files(papisim, tmp_path):
    (tmp_path / "one.yaml").write_text("schema: papisim/device/1\nkind: gqu\nsources: {}\n")
    (tmp_path / "two.yaml").write_text("schema: papisim/machine/1\n")
    big = catalog.shipped(Shelf.DEVICE)["fc_pim"].read_text(encoding="utf-8").replace("die_mm2: 121", "die_mm2: 12")
    (tmp_path / "three.yaml").write_text(big)
    lines = papisim("check", "one.yaml", "two.yaml", "three.yaml").splitlines()
    assert [line.removeprefix("papisim: error: ").partition(":")[0] for line in lines] == [
        "one.yaml",
        "two.yaml",
        "three.yaml",
    ]


def test_the_process_itself_ends_with_status_2_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "papisim", *run(hw="gpu_onyl")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "papisim: error: no hardware 'gpu_onyl': neither a file nor a shipped name; did you mean 'gpu_only'?"
    ]
    assert list(tmp_path.iterdir()) == []
