"""Published tables in one shape: their units, their shapes, and what is left out of them."""

import pandas as pd
import pytest

from papisim.calibration.gpu.tables import read_tables

PROFILE = (
    "time_stats.attn_pre_proj.median,time_stats.attn_post_proj.median,time_stats.mlp_up_proj.median,"
    "time_stats.mlp_down_proj.median,n_head,n_kv_head,n_embd,n_expanded_embd,use_gated_mlp,num_tokens,"
    "num_tensor_parallel_workers\n"
)


def shapes(table):
    return {(row.m, row.k, row.n): row.time_s for row in table.rows.itertuples()}


@pytest.mark.parametrize(
    ("heads", "kv_heads", "width", "inner", "gated", "ranks", "expected"),
    [
        (32, 32, 4096, 11008, True, 1, {(4096, 12288), (4096, 4096), (4096, 22016), (11008, 4096)}),
        (32, 32, 4096, 11008, True, 4, {(4096, 3072), (1024, 4096), (4096, 5504), (2752, 4096)}),
        (64, 8, 8192, 22016, True, 2, {(8192, 5120), (4096, 8192), (8192, 22016), (11008, 8192)}),
        (64, 8, 8192, 22016, True, 16, {(8192, 768), (512, 8192), (8192, 2752), (1376, 8192)}),
        (32, 32, 2560, 10240, False, 1, {(2560, 7680), (2560, 2560), (2560, 10240), (10240, 2560)}),
    ],
)
def test_a_profile_of_vidur_is_four_products_of_a_rank(
    tmp_path, heads, kv_heads, width, inner, gated, ranks, expected
):
    (tmp_path / "vidur_h100_model.csv").write_text(
        PROFILE + f"0.4,0.3,0.2,0.1,{heads},{kv_heads},{width},{inner},{gated},48,{ranks}\n"
    )
    (table,) = read_tables([tmp_path], ["a100", "h100"])
    assert (table.kind, table.gpu, table.source) == ("linear", "h100", "vidur")
    assert {(k, n) for _, k, n in shapes(table)} == expected
    assert sorted(shapes(table).values()) == pytest.approx([1e-4, 2e-4, 3e-4, 4e-4]), "milliseconds"
    assert {m for m, *_ in shapes(table)} == {48}


def test_a_point_that_was_profiled_three_times_counts_once_by_its_median(tmp_path):
    rows = "".join(f"{ms},1,1,1,32,32,4096,11008,True,8,1\n" for ms in (0.1, 0.5, 0.2))
    (tmp_path / "vidur_a100_model.csv").write_text(PROFILE + rows)
    (table,) = read_tables([tmp_path], ["a100"])
    assert shapes(table)[8, 4096, 12288] == pytest.approx(2e-4)


@pytest.mark.shared_data
@pytest.mark.parametrize("gpu", ["a100", "h100"])
def test_vidurs_profiles_are_the_rows_of_their_extraction(data, gpu):
    """The profiles that --fetch downloads, against the table that the golden tests were written with."""
    extract = data("gpu/vidur_a100_h100_linear.csv.gz")
    names = [f"gpu/vidur_{gpu}_{model}.csv" for model in ("codellama_34b", "llama2_7b", "phi2")]
    profiles = {data(name).parent for name in names}
    ours = next(t for t in read_tables([extract.parent], [gpu]) if t.file == str(extract))
    theirs = pd.concat(
        [t.rows for folder in profiles for t in read_tables([folder], [gpu]) if t.file.endswith(tuple(names))]
    )
    both = ours.rows.merge(theirs, on=["m", "k", "n"], how="outer", suffixes=("", "_theirs"))
    assert len(both) == len(ours.rows) == len(theirs)
    assert (both.time_s - both.time_s_theirs).abs().max() < 1e-12
