"""The part of a kernel by its name."""

import pytest

from papisim.calibration.engine.log import read_log
from papisim.calibration.engine.parts import busy_time, part_of
from papisim.pricing.engine_step import Part


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("nvjet_sm90_hsh_192x8_64x8_4x1_v_bz_TNT", Part.FC),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float>", Part.FC),
        ("sm90_xmma_gemm_f16f16", Part.FC),
        ("void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<>>>", Part.ATTENTION),
        ("void cutlass::device_kernel<flash::FlashAttnFwdCombine<>>", Part.ATTENTION),
        ("void flash::prepare_varlen_num_blocks_kernel<1, false>", Part.ATTENTION),
        ("void vllm::reshape_and_cache_flash_kernel<unsigned short>", Part.SMALL),
        ("triton_red_fused_fused_add_rms_norm_2", Part.SMALL),
        ("_gumbel_sample_kernel", Part.SMALL),
        ("Memcpy DtoH (Device -> Pinned)", Part.SMALL),
        ("ncclDevKernel_AllReduce_Sum_f16_RING_LL", Part.COMMUNICATION),
        ("void vllm::cross_device_reduce_1stage<__half, 2>", Part.COMMUNICATION),
        ("void tensorrt_llm::kernels::ar_fusion::allreduce_fusion_kernel_oneshot_lamport", Part.COMMUNICATION),
    ],
)
def test_kernels_of_engines_have_their_parts(name, part):
    assert part_of(name) is part


def test_times_are_kept_and_unknown_kernels_are_named():
    found = busy_time([("nvjet_a", 1.0), ("flash::b", 2.0), ("nvjet_c", 4.0), ("mystery", 8.0)])
    assert found.by_part == {Part.FC: 5.0, Part.ATTENTION: 2.0}
    assert (found.unknown, found.unknown_s) == (("mystery",), 8.0)
    assert part_of("mystery") is None


@pytest.mark.shared_data
def test_every_kernel_of_the_measured_logs_is_known(data):
    log = read_log(data("engine"))
    assert len(log.kernels) > 1000
    assert busy_time((row.kernel, row.us_per_step) for row in log.kernels).unknown == ()
