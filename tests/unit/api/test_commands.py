"""Prices, fits, figures and captures from Python say what the commands say."""

import inspect
import json
import sys

import pytest

import papisim
from papisim.cli import papisim as command
from papisim.errors import InputError, MissingExtra, NotModelled


def printed(capsys, *arguments):
    command([*map(str, arguments), "-q", "--format", "json"], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def plain(value):
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("hw", "op", "sizes"),
    [
        ("attn_pim", "attention", {"heads_per_stack": 16, "kv": 2048, "tlp": 4, "count": 3}),
        ("a100", "linear", {"m": 16, "k": 4096, "n": 4096, "weight_bits": 4}),
        ("h100", "prefill", {"batch_size": 2, "heads": 32, "tokens": 128, "set": ["dram.efficiency=0.9"][:0]}),
        ("h200", "step", {"trace": "llama7b", "rlp": 16, "tlp": 2, "kv": 512}),
    ],
)
def test_a_price_is_that_of_the_command(hw, op, sizes, capsys):
    flags = [part for name, size in sizes.items() if size for part in (f"--{name.replace('_', '-')}", size)]
    assert plain(papisim.price(hw, op, **sizes)) == printed(capsys, "price", "--hw", hw, "--op", op, *flags)


def test_a_price_follows_its_sizes_and_changed_fields():
    one = papisim.price("attn_pim", "attention", heads_per_stack=16, kv=1024)
    several = papisim.price("attn_pim", "attention", heads_per_stack=16, kv=1024, count=4)
    assert several["time_s"] == one["time_s"]
    assert several["energy_j"] == pytest.approx(4 * one["energy_j"])
    with pytest.raises(InputError, match="is missing: op linear takes"):
        papisim.price("a100", "linear", m=4)
    with pytest.raises(InputError, match="is no size of op linear"):
        papisim.price("a100", "linear", m=4, k=8, n=8, kv=4)
    with pytest.raises(InputError, match="expected a mapping or a list"):
        papisim.price("a100", "linear", m=4, k=8, n=8, set="x=1")
    with pytest.raises(InputError, match="x"):
        papisim.price("a100", "linear", m=4, k=8, n=8, set={"x": 1})


def turns(n, source):
    """Return turns whose drafts of 4 are accepted up to a position that cycles."""
    rows = []
    for index in range(n):
        accepted = [(index + step) % 5 for step in range(60)]
        rows.append({
            "source": source, "task": "chat", "new_tokens": sum(accepted) + len(accepted), "draft_len": 4, "accepted": accepted,
        })  # fmt: skip
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "steps.jsonl"
    path.write_text(turns(8, "one") + turns(8, "two") + turns(2, "few"))
    return path


def test_a_fit_is_that_of_the_command_and_its_file_can_be_run(log, tmp_path, capsys):
    fitted = papisim.fit(log, min_steps=200, max_steps={"one": 30})
    flags = ["--min-steps", 200, "--max-steps", "one=30"]
    assert plain(fitted.summary) == printed(capsys, "fit", "acceptance", log, *flags)
    assert list(fitted.fits) == ["one", "two"]
    assert [group.steps for group in fitted.groups.values()] == [8 * 30, 8 * 59]
    with pytest.raises(InputError, match="there are 2 processes"):
        fitted.write(tmp_path / "p.yaml")
    path = fitted.write(tmp_path / "p.yaml", "one")
    assert papisim.run("gpu_only", "llama7b", batch=1, acceptance=str(path), requests=1, tlp=3).summary["acceptance"]
    with pytest.raises(InputError):
        fitted.write(path, "one")


def test_sources_of_a_fit_are_chosen_by_name(log):
    assert list(papisim.fit(log, source="two", min_steps=100, max_steps=20, by="task").fits) == ["two.chat"]
    with pytest.raises(InputError, match="no source 'tow' in the log; did you mean 'two'"):
        papisim.fit(log, source=["tow"])
    with pytest.raises(InputError, match="nothing has 4 turns and 4000 steps"):
        papisim.fit(log)


def test_a_held_out_check_is_unchanged_by_the_way_it_is_asked_for(log, capsys):
    found = printed(capsys, "fit", "acceptance", log, "--min-steps", 200, "--holdout", 0.5, "--seed", 1)
    assert found["schema"] == "papisim/acceptance_holdout/1"
    assert (found["holdout"], found["split"], found["seed"], found["log"]) == (0.5, "balanced", 1, "steps.jsonl")
    assert list(found["sources"]) == ["one", "two"]


def test_a_reproduced_figure_is_that_of_the_command(capsys):
    found = papisim.reproduce("eq4")
    assert plain(found.summary) == printed(capsys, "reproduce", "eq4")
    assert found.frames["claims"]["verdict"].tolist() == [row["verdict"] for row in found.summary["claims"]]
    assert set(found.frames) == {"claims", "eq4"}
    with pytest.raises(NotModelled, match="'eq5' is not reproduced; did you mean 'eq4'"):
        papisim.reproduce("eq5")


@pytest.mark.slow
@pytest.mark.capture
def test_a_captured_model_is_a_trace_that_runs(tmp_path):
    pytest.importorskip("torch", reason="needs the [capture] extra")
    pytest.importorskip("transformers", reason="needs the [capture] extra")
    path = papisim.capture("llama7b", tmp_path / "mine")
    assert papisim.run("papi", str(path), batch=1).summary["trace"] == "mine"
    with pytest.raises(InputError, match="exists already"):
        papisim.capture("llama7b", tmp_path / "mine")


def test_a_capture_without_its_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"papisim\[capture\]"):
        papisim.capture("llama7b")


def test_every_public_function_is_documented_with_all_its_parameters():
    for name in papisim.__all__:
        function = getattr(papisim, name)
        if not callable(function):
            continue
        text = inspect.cleandoc(function.__doc__ or "")
        missing = [
            each for each in inspect.signature(function).parameters if f"    {each}: " not in text.replace("*", "")
        ]
        assert not missing, (name, missing)
