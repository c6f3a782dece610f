"""Kernels as eager torch launches them."""

from __future__ import annotations

from papisim import catalog
from papisim.catalog import Shelf
from papisim.ops.kernel import KernelClass
from papisim.ops.trace import read_trace
from papisim.plan.unfused import APPENDS, unfused


def test_each_operation_reads_and_writes_by_itself():
    model, rows = read_trace(catalog.find(Shelf.TRACE, "llama7b").path), 3
    for kernel, _ in model.kernels():
        if kernel.fc is not None or kernel.attention is not None:
            continue
        item, count = unfused(kernel, rows)
        appends = kernel.kernel_class is KernelClass.KV_APPEND
        point = {"RLP": 1, "TLP": rows, "KV": 0}
        assert count == (APPENDS if appends else len(kernel.aten))
        assert item.flop == kernel.flop.at(point)
        assert item.read_bytes >= kernel.read_bytes.at(point)
