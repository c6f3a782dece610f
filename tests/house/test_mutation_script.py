"""What ``scripts/mutate`` mutates, and by which tests it judges."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("cosmic_ray", reason="needs the extra [mutate]")
from cosmic_ray.work_item import MutationSpec, WorkItem

TOP = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("mutation", TOP / "scripts" / "mutation.py")
mutation = sys.modules["mutation"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutation)


def mutant(operator, line, number):
    place = {"module_path": "a.py", "start_pos": (line, 0), "end_pos": (line, 9)}
    return WorkItem.single(f"{line}-{number}", MutationSpec(operator_name=operator, occurrence=number, **place))


def test_every_module_belongs_to_one_package_which_has_tests():
    packages = mutation.packages().values()
    modules = [module for package in packages for module in package.modules]
    assert sorted(modules) == sorted(path.relative_to(TOP).as_posix() for path in (TOP / "papisim").rglob("*.py"))
    assert [package.name for package in packages if not package.tests] == []


def test_the_conformance_tests_of_its_kinds_judge_a_package():
    assert "tests/conformance/test_devices.py" in mutation.packages()["devices"].tests


def test_places_are_drawn_not_mutants():
    many = [mutant("core/ReplaceBinaryOperator_Add_Sub", 1, number) for number in range(1000)]
    few = [mutant("core/NumberReplacer", line, 0) for line in range(2, 12)]
    chosen = mutation.drawn(many + few, 11, seed=0)
    assert sorted(item.mutations[0].start_pos[0] for item in chosen) == list(range(1, 12))
    assert mutation.drawn(many + few, 5, seed=1) == mutation.drawn(many + few, 5, seed=1)


def test_annotations_are_left_alone():
    assert mutation.drawn([mutant("core/ReplaceBinaryOperator_BitOr_Add", 1, 0)], 5, seed=0) == []
