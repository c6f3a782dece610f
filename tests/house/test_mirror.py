"""Every module has tests that stand where one looks for them: of its name, of its own, or of its family.

A module is accounted for if a unit test is named for it in the folder that mirrors its package, if a test imports it
directly, if it is a kind (the conformance tests of its family run it), or if the list below says which tests hold it.
"""

import ast
from pathlib import Path

import papisim

PACKAGE = Path(papisim.__file__).parent
TESTS = Path(__file__).parents[1]
SUITES = ("unit", "conformance", "formula", "property", "golden", "e2e")
#: a contract, or nothing but a docstring
WITHOUT_CODE = ("__init__.py", "__main__.py", "base.py")
#: modules of a folder → the tests that hold them; those of a kind are named by their family's conformance tests
HELD_BY = {
    # values and draws that every process of its family uses
    "acceptance/*.py": "unit/acceptance/test_kinds.py",
    "policies/batching/*.py": "unit/policies/test_batching.py",
    "policies/routing/*.py": "unit/policies/test_routing.py",
    "policies/speculation/*.py": "unit/policies/speculation/test_presets.py",
    "workloads/formats/*.py": "unit/workloads/test_trace_formats.py",
    "workloads/traces/*.py": "unit/workloads/test_traces.py",
    "workloads/lengths/*.py": "unit/workloads/test_lengths.py",
    "workloads/*.py": "unit/workloads/test_arrivals.py",
    "engine/drafting/*.py": "unit/engine/test_speculation.py",
    # a mechanism that is visible in a run alone
    "engine/*.py": "unit/engine/test_run.py",
    "plan/*.py": "unit/plan/test_step.py",
    "record/*.py": "unit/engine/test_run.py",
    "devices/aim/*.py": "unit/devices/aim/test_aim.py",
    "devices/gpu/*.py": "unit/devices/test_gpu.py",
    "devices/pim/*.py": "unit/devices/pim/test_pim_parts.py",
    "devices/pim/mapping/*.py": "unit/devices/pim/test_pim_mapping.py",
    "devices/pim/mapping/attacc_released/*.py": "unit/devices/pim/test_pim_mapping.py",
    "devices/either.py": "unit/devices/test_device.py",
    "config/*.py": "unit/config/test_experiment.py",
    "calibration/alpha.py": "e2e/test_main_job.py",
    "calibration/cache.py": "unit/calibration/test_tuning.py",
    "diagnosis/schema.py": "e2e/test_explain.py",
    "exploration/*.py": "unit/exploration/test_run.py",
    "validation/schema.py": "unit/cli/test_validate_figure.py",
    # a function of the API does what the command of its name does
    "api/*.py": "unit/api/test_commands.py",
    "tracing/aten.py": "unit/tracing/test_capture.py",
    # mechanisms of families of models
    "tracing/attention.py": "unit/tracing/test_families.py",
    "tracing/caches.py": "unit/tracing/test_families.py",
    "tracing/experts.py": "unit/tracing/test_families.py",
    "tracing/states.py": "unit/tracing/test_families.py",
    # aliases of types
    "arrays.py": "house/test_house.py",
    "children.py": "e2e/test_faults.py",
    "results/seal.py": "unit/results/test_folder.py",
    # what a command records, and what becomes of it
    "results/bundle.py": "e2e/test_paper_kit.py",
    "results/citations.py": "e2e/test_paper_kit.py",
    "results/command.py": "e2e/test_paper_kit.py",
    # commands and their options, as a user calls them
    "cli/*.py": "e2e",
    # figures of papers: each is a kind, and reproduced as a whole
    "paper/papi/*.py": "unit/paper/papi/test_figures.py",
    "paper/speculation/*.py": "unit/paper/speculation/test_systems.py",
    "paper/baselines/*.py": "unit/paper/baselines/test_ratios.py",
    # parts of pages and tables, looked at where they are put together
    "report/html/*.py": "unit/report/html/test_page.py",
    "report/html/charts/*.py": "unit/report/html/test_page.py",
    "report/html/pages/*.py": "unit/report/html",
    "report/console/*.py": "unit/report/console/test_console.py",
    "report/markdown/*.py": "e2e/test_reproduce.py",
    "report/*.py": "unit/report",
}


def modules():
    """Return the modules that have code, relative to the package."""
    paths = (path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py")))
    return [path for path in paths if path.name not in WITHOUT_CODE]


def imported():
    """Return the dotted names of everything that tests import from papisim."""
    names = set()
    for suite in SUITES:
        for path in (TESTS / suite).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                elif isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
    return names


def is_named(module):
    """Tell whether a unit test of the mirrored folder is named for a module."""
    stem = module.stem.lstrip("_")
    folder = TESTS / "unit" / module.parent
    return any(folder.glob(f"test_{stem}.py")) or any(folder.glob(f"test_{stem}_*.py"))


def holder(module):
    """Return the tests that the list names for a module, if it does."""
    return next((tests for pattern, tests in HELD_BY.items() if module.match(pattern)), None)


def test_every_module_is_held_by_tests():
    names = imported()
    dotted = {module: ".".join(("papisim", *module.with_suffix("").parts)) for module in modules()}
    loose = [
        module.as_posix()
        for module, name in dotted.items()
        if not (is_named(module) or name in names or holder(module))
    ]
    assert loose == []


def test_the_list_names_tests_that_exist():
    assert [tests for tests in HELD_BY.values() if not (TESTS / tests).exists()] == []
