"""Schemas of files that users write."""

import jsonschema
import pytest
import yaml

from papisim import catalog
from papisim.api.input_schema import FILES, file_schema
from papisim.api.schema import json_schema
from papisim.catalog import Shelf

SHIPPED = [
    (schema, path)
    for schema, shelf in (("engine", Shelf.ENGINE), ("energy", Shelf.ENERGY), ("dram", Shelf.DRAM))
    for path in catalog.shipped(shelf).values()
]


@pytest.mark.parametrize(("schema", "path"), SHIPPED, ids=lambda value: getattr(value, "stem", value))
def test_every_shipped_file_keeps_its_schema(schema, path):
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json_schema(schema)).validate(document)


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
    assert set(FILES) == {"engine", "energy", "dram"}


def test_fields_of_a_table_have_meanings_from_the_class_that_it_extends_and_take_texts_with_units():
    table = file_schema("energy")["properties"]
    assert table["activation_j"]["description"] == "opening and closing one row of one bank"
    assert table["activation_j"]["type"] == ["number", "string"]
    assert {"type": ["number", "string"], "minimum": 0} in table["standby_w_per_byte"]["anyOf"]
