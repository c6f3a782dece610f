"""Every document that a command prints, and every frame that it writes, is as its published schema says."""

import json
from pathlib import Path

import pytest

import papisim
from papisim import units
from papisim.api import schema
from papisim.cli import papisim as command
from papisim.errors import InputError
from papisim.results.schema import FRAMES

jsonschema = pytest.importorskip("jsonschema", reason="needs the extra [dev]")
REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
SHORT = "workload.lengths={kind: fixed, input_tokens: 16, output_tokens: 4}"
SHORT_LENGTHS = {"workload.lengths": {"kind": "fixed", "input_tokens": 16, "output_tokens": 4}}
RUNS = {
    "papi": ["--hw", "papi", "--batch", "2"],
    "one_token": ["--hw", "gpu_only", "--batch", "1", "--set", SHORT.replace("output_tokens: 4", "output_tokens: 1")],
    "speculation": [
        "--hw",
        "papi",
        "--batch",
        "2",
        "--speculation",
        "dsde",
        "--acceptance",
        "meta_70b",
        "--draft",
        "ngram",
        "--set",
        SHORT,
    ],
    "serving": [
        "--hw",
        "papi",
        "--workload",
        "azure_code",
        "--requests",
        "4",
        "--replicas",
        "2",
        "--set",
        "slo.ttft_s=1",
    ],
    "streaming": ["--hw", "gpu_only", "--batch", "2", "--metrics", "streaming", "--set", SHORT],
    "pim": ["--hw", "attacc_only", "--batch", "2", "--set", SHORT, "--set", "overlap.kind=heads"],
}


def printed(capsys, *arguments):
    quiet = [] if arguments[0] in ("calibrate", "describe", "diff") else ["-q"]
    command([*map(str, arguments), *quiet, "--format", "json"], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def check(document):
    """Hold a document against the schema that it names."""
    name = document["schema"].split("/")[1]
    found = schema.json_schema(name)
    assert found["$id"] == document["schema"]
    jsonschema.Draft202012Validator.check_schema(found)
    jsonschema.validate(document, found, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_summary_is_as_its_schema_says_and_has_every_key(name, capsys):
    document = printed(capsys, "run", "--trace", "llama7b", *RUNS[name])
    check(document)
    assert set(document) == set(schema.json_schema("run-summary")["properties"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "--hw", "papi", "--hw", "gpu_only", "--trace", "llama7b", "--batch", "2", "--set", SHORT],
        ["explain", "--hw", "papi", "--trace", "llama7b", "--batch", "2", "--changes", "1", "--set", SHORT],
        ["price", "--hw", "attn_pim", "--op", "attention", "--heads-per-stack", "4", "--kv", "64"],
        ["price", "--hw", "h100", "--op", "linear", "--m", "4", "--k", "64", "--n", "64"],
        ["price", "--hw", "h200", "--op", "step", "--trace", "llama7b", "--rlp", "4", "--kv", "64"],
        ["describe", "papi", "--trace", "llama7b", "--trace", "mamba2-2.7b"],
        ["describe", "nvlink3"],
        ["diff", "papi", "gpu_only", "--trace", "llama7b"],
        ["reproduce", "eq4"],
        ["calibrate", "alpha", "--trace", "llama7b", "--max-rows", "8"],
        ["calibrate", "speculation", "--hw", "papi", "--trace", "llama7b", "--batch", "1", "--max-draft", "2"],
    ],
    ids=" ".join,
)
def test_what_a_command_prints_is_as_its_schema_says(arguments, capsys):
    check(printed(capsys, *arguments))


def test_rows_of_a_sweep_and_of_a_front_are_as_their_schema_says(tmp_path, capsys):
    space = {
        "schema": "papisim/sweep/1",
        "description": "points that meet a constraint, and points that do not",
        "base": {"hw": "papi", "trace": "llama7b", "requests": 2, "set": SHORT_LENGTHS},
        "space": {"batch": [1, 2], "tlp": [1, 2]},
        "constraints": {"fast": "throughput_tokens_per_s > 700"},
    }
    path = tmp_path / "space.yaml"
    path.write_text(json.dumps(space))
    swept = printed(capsys, "sweep", path, "--workers", 1)
    assert {row["status"] for row in swept["rows"]} == {"ok", "infeasible"}
    check(swept)
    pytest.importorskip("optuna", reason="needs the [sweep] extra")
    goal = {"objectives": {"fast": {"maximise": "throughput_tokens_per_s"}}, "sampler": "random", "trials": 3}
    path.write_text(json.dumps({**space, "optimise": goal}))
    check(printed(capsys, "optimise", path, "--workers", 1))


def test_a_fit_and_its_check_are_as_their_schemas_say(tmp_path, capsys):
    log = tmp_path / "steps.jsonl"
    turns = [
        {"source": "one", "draft_len": 4, "accepted": [(turn + step) % 5 for step in range(60)]} for turn in range(8)
    ]
    log.write_text("\n".join(map(json.dumps, turns)))
    check(printed(capsys, "fit", "acceptance", log, "--min-steps", 100))
    check(printed(capsys, "fit", "acceptance", log, "--min-steps", 100, "--holdout", 0.5))


def test_frames_have_the_columns_of_their_schemas(capsys):
    frames = papisim.run("papi", "llama7b", batch=2, set=[SHORT]).frames
    compared = papisim.compare(["papi", "gpu_only"], "llama7b", batch=2, set=[SHORT])
    frames |= compared.frames | {"uncertainty": compared.uncertainty}
    for name in FRAMES:
        rows = (
            frames[name].drop(columns="machine", errors="ignore") if name in ("requests", "energy") else frames[name]
        )
        validator = jsonschema.Draft202012Validator(schema.json_schema(f"frame-{name}"))
        for row in json.loads(rows.head(20).to_json(orient="records")):
            validator.validate(row)


@pytest.mark.parametrize("name", schema.names())
def test_every_key_has_a_meaning_and_every_number_its_unit(name):
    found = schema.json_schema(name)
    for part in (found, *found.get("$defs", {}).values()):
        for field, value in part["properties"].items():
            assert value.get("description"), field
            assert ("unit" in value) == (units.unit_of(field) is not None), field


def test_units_of_keys_are_written_as_symbols():
    known = schema.json_schema("run-summary")["properties"]
    assert known["throughput_tokens_per_s"]["unit"] == "tokens/s"
    assert known["energy_j"]["unit"] == "J"
    assert known["makespan_s"]["unit"] == "s"
    assert "unit" not in known["n_requests"]


def test_a_document_with_a_key_too_many_or_of_another_type_is_refused():
    document = papisim.run("papi", "llama7b", batch=1, set=[SHORT]).summary
    for wrong in ({**document, "speed": 1.0}, {**document, "makespan_s": "1 s"}, {**document, "seed": None}):
        with pytest.raises(jsonschema.ValidationError):
            check(json.loads(json.dumps(wrong)))


@pytest.mark.parametrize("name", schema.names())
def test_the_published_schema_is_that_of_the_code(name):
    published = json.loads((REFERENCE / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    assert published == schema.json_schema(name), "run scripts/schemas"


def test_the_published_page_is_that_of_the_code_and_nothing_else_is_published():
    assert (REFERENCE / "schemas.md").read_text(encoding="utf-8") == "\n".join(schema.page()), "run scripts/schemas"
    assert {path.stem for path in (REFERENCE / "schemas").glob("*.json")} == set(schema.names())


def test_the_command_prints_the_names_and_each_schema(capsys):
    command(["schema"], standalone_mode=False)
    assert capsys.readouterr().out.split() == schema.names()
    command(["schema", "frame-steps"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == schema.json_schema("frame-steps")
    with pytest.raises(InputError, match="no schema 'run-sumary'; did you mean 'run-summary'"):
        command(["schema", "run-sumary"], standalone_mode=False)
