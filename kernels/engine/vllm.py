"""vLLM (V1) in this process, driven step by step. Written for version 0.24, whose internals it times."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernels.engine.log import Launch, Readings, Scheduled, Step

#: settings without which the engine runs elsewhere, asks the network, or is another one
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "VLLM_HOST_IP": "127.0.0.1",
}  # fmt: skip
#: token ids below this and above the vocabulary less this are left out of random prompts
_SPECIAL = 10


@dataclass(frozen=True)
class Settings:
    """How the engine is started.

    Attributes:
        model: folder of the model's configuration, or a name.
        is_async: whether the host prepares a step while one runs.
        drafts: drafted tokens per request; random ones, of which none is accepted.
        max_requests: most requests at once.
        max_tokens: most tokens of a request.
        budget: largest token budget of a step.
        memory_ratio: share of the memory that is used.
        loads_weights: whether weights are loaded; random ones otherwise.
    """

    model: str
    is_async: bool
    drafts: int = 0
    max_requests: int = 128
    max_tokens: int = 4608
    budget: int = 8192
    memory_ratio: float = 0.92
    loads_weights: bool = False


class Vllm:
    """The engine.

    Args:
        settings: how it is started.
    """

    def __init__(self, settings: Settings) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import vllm  # noqa: PLC0415 - reads the environment

        self.version, self.drafts, self._settings = vllm.__version__, settings.drafts, settings
        self.is_async = settings.is_async
        self._engine = vllm.LLM(**_arguments(settings)).llm_engine
        self._core = self._engine.engine_core.engine_core
        self._scheduler, self._executor = self._core.scheduler, self._core.model_executor
        self.config = self._engine.vllm_config
        self.cache_tokens = int(self.config.cache_config.num_gpu_blocks * self.config.cache_config.block_size)
        self._most = int(self._scheduler.max_num_scheduled_tokens)
        self._vocabulary = int(self.config.model_config.get_vocab_size())
        self._draws, self._n_added = np.random.default_rng(0), 0
        self._spent, self._scheduled = dict.fromkeys(("schedule", "execute", "sample", "update"), 0.0), Scheduled()
        self._time_parts()
        if settings.drafts:
            self._draft_at_random()

    def _time_parts(self) -> None:
        """Measure the time of each part of a step, and note what was scheduled."""
        self._wrap(self._scheduler, "schedule", "schedule", self._note)
        self._wrap(self._executor, "execute_model", "execute")
        self._wrap(self._executor, "sample_tokens", "sample")
        self._wrap(self._scheduler, "update_from_output", "update")

    def _wrap(self, owner: Any, name: str, part: str, note: Callable[[Any], None] | None = None) -> None:
        inner = getattr(owner, name)

        def timed(*args: Any, **settings: Any) -> Any:
            start_s = time.perf_counter()
            found = inner(*args, **settings)
            self._spent[part] += time.perf_counter() - start_s
            if note is not None:
                note(found)
            return found

        setattr(owner, name, timed)

    def _note(self, output: Any) -> None:
        cached = {each.req_id: each.num_computed_tokens for each in output.scheduled_new_reqs}
        others = output.scheduled_cached_reqs
        cached |= dict(zip(others.req_ids, others.num_computed_tokens, strict=True))
        decoding, rows, context, drafts, prompts = 0, 0, 0, 0, []
        for request, tokens in output.num_scheduled_tokens.items():
            before = cached.get(request, 0)
            known = self._scheduler.requests.get(request)
            if known is not None and before < known.num_prompt_tokens:
                prompts.append((tokens, before))
                continue
            decoding, rows, context = decoding + 1, rows + tokens, context + before
            drafts += len(output.scheduled_spec_decode_tokens.get(request, ()))
        queues = len(self._scheduler.running), len(self._scheduler.waiting), len(output.preempted_req_ids or ())
        self._scheduled = Scheduled(decoding, rows, context, tuple(prompts), drafts, *queues)

    def _draft_at_random(self) -> None:
        from vllm.v1.spec_decode.ngram_proposer import NgramProposer  # noqa: PLC0415 - as vllm

        def propose(proposer: Any, n_drafts: int, sampled: list[Any], *args: Any, **settings: Any) -> list[list[int]]:
            del args, settings
            length = min(n_drafts, proposer.k)
            return [self._random_tokens(length) if len(each) else [] for each in sampled]

        NgramProposer.propose = propose

    def _random_tokens(self, n: int) -> list[int]:
        return [int(each) for each in self._draws.integers(_SPECIAL, self._vocabulary - _SPECIAL, n)]

    def add(self, input_tokens: int, output_tokens: int) -> str:
        """Submit a request of random tokens and return its id."""
        from vllm import SamplingParams  # noqa: PLC0415 - as vllm
        from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

        self._n_added += 1
        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=output_tokens,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        prompt = {"type": "token", "prompt_token_ids": self._random_tokens(input_tokens)}
        self._engine.add_request(f"r{self._n_added}", prompt, sampling)
        return f"r{self._n_added}"

    def step(self) -> Step:
        """Run one step."""
        self._spent = dict.fromkeys(self._spent, 0.0)
        self._scheduled = Scheduled(running=len(self._scheduler.running), waiting=len(self._scheduler.waiting))
        start_s = time.perf_counter()
        outputs = self._engine.step()
        time_s = time.perf_counter() - start_s
        tokens = {each.request_id: len(each.outputs[0].token_ids) for each in outputs}
        ended = frozenset(each.request_id for each in outputs if each.finished)
        return Step(start_s, time_s, *self._spent.values(), self._scheduled, tokens, ended)

    @property
    def busy(self) -> bool:
        """Whether a request is unfinished."""
        return bool(self._engine.has_unfinished_requests())

    def limit(self, tokens: int) -> None:
        """Set the token budget of a step, up to the one that the engine was started with."""
        self._scheduler.max_num_scheduled_tokens = min(tokens, self._most)

    def clear(self) -> None:
        """Abort all requests, and take in the steps that are under way."""
        live = list(self._engine.output_processor.request_states)
        if live:
            self._engine.abort_request(live, internal=True)
        queue = self._core.batch_queue
        for _ in range(50):
            if not (self.busy or self._scheduler.has_requests() or (queue is not None and len(queue))):
                return
            self._engine.step()
        raise RuntimeError("the engine still has requests that were aborted")

    def profile(self, run: Callable[[], None]) -> tuple[float, list[Launch]]:
        """Run under torch's profiler; returns wall seconds and the kernels."""
        import torch  # noqa: PLC0415 - as vllm
        from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415

        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            start_s = time.perf_counter()
            run()
            torch.cuda.synchronize()
            wall_s = time.perf_counter() - start_s
        events = profiler.profiler.kineto_results.events()
        launches = [
            Launch(event.start_ns(), event.duration_ns(), event.name())
            for event in events
            if str(event.device_type()).endswith("CUDA") and event.duration_ns() > 0
        ]
        marks = ("ProfilerStep", "execute_", "gpu_user")
        return wall_s, [each for each in launches if not each.name.startswith(marks)]

    def sensors(self) -> Readings:
        """Read clocks, power and temperature; nothing without nvidia-ml-py."""
        try:
            import pynvml  # noqa: PLC0415 - optional
        except ImportError:
            return Readings()
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        clocks = [
            pynvml.nvmlDeviceGetClockInfo(gpu, which) for which in (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM)
        ]
        return Readings(*clocks, pynvml.nvmlDeviceGetPowerUsage(gpu) / 1e3, pynvml.nvmlDeviceGetTemperature(gpu, 0))

    def facts(self) -> dict[str, object]:
        """Return the settings that the log keeps."""
        config = self.config
        return {
            "version": f"vllm {self.version}",
            "settings": {**vars(self._settings), "model": Path(self._settings.model).name}, "cache_tokens": self.cache_tokens,
            "async_scheduling": bool(config.scheduler_config.async_scheduling),
            "cudagraph_sizes": config.compilation_config.cudagraph_capture_sizes,
            "cudagraph_mode": str(config.compilation_config.cudagraph_mode), "cores": os.cpu_count(), "cpu": _processor(),
            "model": {
                name: value for name, value in config.model_config.hf_config.to_dict().items() if name != "_name_or_path"
            },
        }  # fmt: skip


def _arguments(settings: Settings) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": settings.model, "skip_tokenizer_init": True, "load_format": "auto" if settings.loads_weights else "dummy",
        "enable_prefix_caching": False, "max_model_len": settings.max_tokens, "max_num_seqs": settings.max_requests,
        "max_num_batched_tokens": settings.budget, "generation_config": "vllm", "seed": 0, "disable_log_stats": True,
        "async_scheduling": settings.is_async, "gpu_memory_utilization": settings.memory_ratio,
    }  # fmt: skip
    if settings.drafts:
        arguments["speculative_config"] = {
            "method": "ngram", "num_speculative_tokens": settings.drafts, "prompt_lookup_max": 3, "prompt_lookup_min": 1,
        }  # fmt: skip
    return arguments


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
