"""Schemas of files that users write."""

import jsonschema
import pytest
import yaml

from papisim import catalog
from papisim.api.input_schema import FILES, file_schema
from papisim.api.schema import json_schema
from papisim.catalog import Shelf

ENGINES = catalog.shipped(Shelf.ENGINE)


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_every_shipped_profile_keeps_the_schema(name):
    document = yaml.safe_load(ENGINES[name].read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json_schema("engine")).validate(document)


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": {"step_s": []}},
        {"host": {"scheduling": "sometimes"}},
        {"fusion": {"qvk": True}},
        {"graphs": {"sizes": [0]}},
        {"name": "vllm"},
    ],
)
def test_a_wrong_field_is_refused(wrong):
    document = {"schema": "papisim/engine/1", "description": "mine", "sources": {}, **wrong}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema("engine")).validate(document)


def test_each_field_has_the_meaning_that_its_docstring_says():
    host = file_schema("engine")["$defs"]["HostSpec"]["properties"]
    assert host["request_s"]["description"] == "time per request in a step"
    assert host["request_s"]["type"] == ["number", "string"]
    assert set(FILES) == {"engine"}
