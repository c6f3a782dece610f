"""What an editor and mypy know of the API; ``test_typing.py`` has mypy check it. It is never run."""

from pathlib import Path
from typing import Any, assert_type

import pandas as pd

import papisim
from papisim.api.literature import Reproduction
from papisim.api.logs import FittedProcesses
from papisim.api.results import ComparisonResult, ExplainedRun, Machine, ParetoResult, Result, Saved, SweepResult
from papisim.exploration.computing import Computing
from papisim.policies.speculation.fixed import Options as Fixed

machine = papisim.load("papi", set={"devices.gpu.count": 8})
assert_type(machine, Machine | Saved)
assert isinstance(machine, Machine)

result = papisim.run("papi", "llama7b", batch=4, tlp=2, metrics="streaming", fold=False)
assert_type(result, Result)
assert_type(result.summary, dict[str, Any])
assert_type(result.frames, dict[str, pd.DataFrame])
assert_type(result.report("page.html"), Path)
assert_type(result.timeline("t.json", "0..2", force=True), Path)

papisim.run(machine, "llama7b", workload=pd.DataFrame(), speculation=Fixed(kind="fixed", tlp=3))
papisim.run(machine, "llama7b", workload=[(100, 10), (20, 5)], speculation={"kind": "fixed", "tlp": 3})
papisim.run(hw=machine, trace="llama7b", workload=[(0.0, 100, 10)], draft="eagle_head", set=["devices.gpu.count=8"])

compared = papisim.compare(["papi", machine], "llama7b", speculation=["off", Fixed(kind="fixed", tlp=3)])
assert_type(compared, ComparisonResult)
assert_type(compared.results, dict[str, Result])

explained = papisim.explain("papi", "llama7b", of="decode", changes=2)
assert_type(explained, ExplainedRun)
assert_type(explained.result, Result)

swept = papisim.sweep({"description": "one", "base": {"hw": "papi", "trace": "llama7b"}}, workers=2)
assert_type(swept, SweepResult)
assert_type(swept.frame, pd.DataFrame)
assert_type(swept.tally, dict[str, int])

best = papisim.optimise(Path("space.yaml"), "out", trials=8, workers=Computing(scheduler="embedded"), frame="csv")
assert_type(best, ParetoResult)
assert_type(best.front, pd.DataFrame)

assert_type(papisim.price("a100", "linear", m=4, k=8, n=8), dict[str, Any])
assert_type(papisim.reproduce("fig7", "eq4", interpretation="paper"), Reproduction)
assert_type(papisim.fit("log.jsonl", source=["a"], max_steps={"a": 100}), FittedProcesses)
assert_type(papisim.capture("llama7b", "traces/mine", progress=print), Path)
assert_type(papisim.__version__, str)
