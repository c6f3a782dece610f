"""Tables of kernels that are to be priced."""

import pytest
from click.testing import CliRunner

from papisim.cli import papisim
from papisim.errors import InputError, NotModelled


@pytest.mark.parametrize("row", ["linear,4,4096", "linear,4,4096,4096,5"])
def test_a_row_of_another_length_than_the_header_is_named(tmp_path, row):
    (tmp_path / "k.csv").write_text(f"op,m,k,n\nlinear,4,64,64\n{row}\n")
    done = CliRunner().invoke(papisim, ["price", "--hw", "fc_pim", "--batch", str(tmp_path / "k.csv")])
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == f"{tmp_path / 'k.csv'}:3: expected 4 cells, as the header has"


def test_a_refused_stream_of_commands_leaves_no_file(tmp_path):
    call = [
        "price",
        "--hw",
        "h100",
        "--op",
        "attention",
        "--batch-size",
        "4",
        "--heads",
        "8",
        "--kv",
        "512",
        "--commands",
        str(tmp_path / "c"),
    ]
    done = CliRunner().invoke(papisim, call)
    assert isinstance(done.exception, NotModelled)
    assert list(tmp_path.iterdir()) == []
