"""Bodies that the agent holds: as many as its limits allow fit into the memory that the chart gives it."""

from __future__ import annotations

from pathlib import Path

import yaml

from insource.gateway.activator import HoldLimits
from insource.gateway.plain import PlainLimits
from insource.gateway.spool import MEMORY_BYTES, Spool, SpoolBudget

VALUES = Path(__file__).resolve().parents[2] / "charts" / "insource" / "values.yaml"


def test_all_bodies_at_once_take_a_quarter_of_the_agents_memory_at_most() -> None:
    limit = yaml.safe_load(VALUES.read_text())["gateway"]["resources"]["agent"]["limits"]["memory"]
    assert limit == "1Gi"
    assert (HoldLimits().requests + PlainLimits().requests) * MEMORY_BYTES <= (1 << 30) // 4


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_body_is_read_as_it_was_written_however_large(tmp_path: Path) -> None:
    budget = SpoolBudget(1 << 30)
    for size in (0, 1, MEMORY_BYTES, MEMORY_BYTES + 1, 5 * MEMORY_BYTES):
        spool, body = Spool(tmp_path, budget), bytes(range(256)) * (size // 256) + bytes(size % 256)
        for start in range(0, size, 10_000):
            spool.write(body[start : start + 10_000])
        for _ in range(2):
            assert b"".join([chunk async for chunk in spool.chunks()]) == body
        assert budget.used == size
        spool.close()
        spool.close()
        assert budget.used == 0
    assert files(tmp_path) == [], "its file has no name"
