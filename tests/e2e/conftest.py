"""One running installation for the tests of a module: the real programs, in a data directory of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.installation import Installation


@pytest.fixture(scope="module")
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The module may set `ENVIRONMENT` for `insource up`."""
    data: Path = tmp_path_factory.mktemp("insource")
    running = Installation(data, getattr(request.module, "ENVIRONMENT", None))
    running.up()
    try:
        yield running
    finally:
        running.down()
