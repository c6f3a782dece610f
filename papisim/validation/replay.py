"""The result of a client's benchmark beside a simulation of the same requests: ``papisim replay``."""

from __future__ import annotations

from dataclasses import replace

from papisim.engine.run import simulate
from papisim.validation.clients import BenchmarkResult, Pace
from papisim.validation.schema import ReplayedResult, ServedFigure, Throughput
from papisim.validation.served import Simulator, figures_of


def replay(result: BenchmarkResult, simulator: Simulator, concurrency: int | None = None) -> ReplayedResult:
    """Simulate the requests of a benchmark and compare latencies and throughput.

    Args:
        result: the benchmark.
        simulator: the simulated side; its machine and trace are named.
        concurrency: most requests of the client at once, in place of what the result says.

    Raises:
        InputError, InputErrors: as :func:`papisim.config.experiment.load_experiment`.
        NotModelled: the client limited requests at once and their rate together.
    """
    client = result.client if concurrency is None else replace(result.client, pace=Pace(concurrency=concurrency))
    workload = client.workload()
    experiment = simulator.experiment("", "", {}, workload)
    run = simulate(experiment)
    figures: list[ServedFigure] = list(figures_of(result.measured, run.ledger.latencies))
    emitted = sum(record.emitted_tokens for record in run.ledger.requests)
    simulated = emitted / run.ledger.makespan_s
    measured = result.output_tokens_per_s
    return ReplayedResult(
        form=result.form,
        model=result.model,
        machine=experiment.system.name,
        trace=experiment.trace.name,
        engine=experiment.engine.name,
        workload=str(workload["kind"]),
        requests=client.n_requests,
        latencies=figures,
        throughput=None
        if measured is None
        else Throughput(
            measured_tokens_per_s=measured, predicted_tokens_per_s=simulated, error=simulated / measured - 1
        ),
        notes=[*result.notes, *dict.fromkeys(experiment.notes)],
    )
