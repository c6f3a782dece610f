"""Every law of a family on every kind and every shipped file of it: what exists is tested."""

from functools import cache

import pytest

from papisim.conformance.law import example_of, laws_of, shipped_of
from papisim.kinds.families import family


@cache
def shipped(name):
    return {subject.label: subject for subject in shipped_of(family(name))}


def pytest_generate_tests(metafunc):
    """Give a test that asks for a law and a subject each of both, of the family that its module names."""
    if not {"law", "subject"} <= set(metafunc.fixturenames):
        return
    found = family(metafunc.module.FAMILY)
    laws = laws_of(found)
    examples = [name for name in found.own() if found.load(name).example.fields not in list(shipped(found.name))]
    subjects = [("example", name) for name in examples] + [("file", name) for name in shipped(found.name)]
    metafunc.parametrize("law", laws, ids=[law.__name__ for law in laws])
    metafunc.parametrize("subject", subjects, ids=["-".join(each) for each in subjects], indirect=True)


@pytest.fixture
def subject(request, tmp_path):
    form, name = request.param
    found = family(request.module.FAMILY)
    return example_of(found, found.load(name), tmp_path) if form == "example" else shipped(found.name)[name]
