"""The bench and its tables, without a GPU."""

import csv
import gzip
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from kernels import linear
from kernels.harness import COLD, Bench, Ticks
from kernels.machine_card import gpu_name, write_card
from kernels.tables import Row, rows_measured, write_table, written

ROOT = Path(__file__).parents[3]


class _Counter:
    def __init__(self, joules: list[float]) -> None:
        self._joules = iter(joules)

    def joules(self) -> float:
        return next(self._joules)


def test_operand_sets_exceed_the_l2_cache(bench: Bench) -> None:
    assert bench.sets(1024) * 1024 >= COLD * bench.l2_bytes > 2 * bench.l2_bytes
    assert bench.sets(1 << 40) == 2, "the next launch never finds what the last one used"


def test_watts_are_joules_over_seconds_between_ticks() -> None:
    ticks = Ticks(_Counter([5.0, 5.0, 6.0, 6.0, 9.0]))  # type: ignore[arg-type]
    for _ in range(4):
        ticks.poll()
    assert [joules for _, joules in ticks.seen] == [6.0, 9.0]
    (first_s, _), (last_s, _) = ticks.seen
    assert ticks.watts_after(first_s) == pytest.approx(3.0 / (last_s - first_s))
    assert ticks.watts_after(last_s) is None, "one tick bounds no interval"


def test_measured_numbers_have_five_digits() -> None:
    assert [written(value) for value in (None, 12, "cublas", 1.23456789e-05)] == ["", "12", "cublas", "1.2346e-05"]


def test_a_table_that_was_cut_short_goes_on_where_it_was(tmp_path: Path, bench: Bench) -> None:
    path = tmp_path / "linear.csv"
    part = tmp_path / "linear.csv.part"
    points = linear.points(smoke=True)

    def interrupted():  # type: ignore[no-untyped-def]
        yield from linear.measure(bench, points[:1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_table(path, linear.COLUMNS, interrupted())
    part.write_text(part.read_text() + "3,64,9", encoding="utf-8")  # half a row
    assert not path.exists()
    assert rows_measured(path) == 1
    assert write_table(path, linear.COLUMNS, linear.measure(bench, points[1:])) == len(points)
    rows = list(csv.DictReader(path.open()))
    assert [(int(row["m"]), int(row["k"]), int(row["n"])) for row in rows] == [(1, 64, 96), (3, 64, 96)]
    assert not part.exists()


def test_a_large_table_is_packed_when_complete(tmp_path: Path) -> None:
    rows: list[Row] = [{"a": 1, "b": 2.5}, {"a": 2, "b": None}]
    assert write_table(tmp_path / "big.csv.gz", ("a", "b"), rows) == 2
    assert gzip.decompress((tmp_path / "big.csv.gz").read_bytes()) == b"a,b\n1,2.5\n2,\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "big.csv.gz"]


def test_the_card_says_what_it_knows(tmp_path: Path, bench: Bench) -> None:
    write_card(tmp_path / "machine.yaml", bench, smoke=True)
    card = yaml.safe_load((tmp_path / "machine.yaml").read_text())
    assert card["schema"] == "papisim/machine-card/1"
    assert card["software"]["torch"] == str(torch.__version__)
    assert card["ceilings"]["copy_bytes_per_s"] > 0
    assert gpu_name(bench.device) == "cpu"


@pytest.mark.parametrize(
    ("name", "short"),
    [("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H200", "h200"), ("NVIDIA A100-SXM4-80GB", "a100"),
     ("NVIDIA H100 PCIe", "h100-pcie"), ("NVIDIA GeForce RTX 4090", "rtx-4090")],
)  # fmt: skip
def test_a_folder_is_named_after_the_part(monkeypatch: pytest.MonkeyPatch, name: str, short: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert gpu_name(torch.device("cuda")) == short


def test_the_command_keeps_what_is_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kernels", "--device", "cpu", "--smoke", "--out", str(tmp_path), "linear"]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    table = tmp_path / "cpu" / "linear.csv"
    assert first.stdout.strip() == str(table.parent)
    table.write_text("mine", encoding="utf-8")
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "kept; --force measures it again" in second.stderr
    assert table.read_text() == "mine"
    subprocess.run([*command, "--force"], cwd=ROOT, capture_output=True, check=True)
    assert table.read_text().startswith("models,m,k,n,dtype")
