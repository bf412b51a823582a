"""What the embedded API server knows of Kubernetes' own types is what the pinned Kubernetes knows of them."""

from __future__ import annotations

import pytest

from tests.cluster.kubernetes_types import OPENAPI, TYPES, texts
from tests.servers import ApiServer

pytestmark = pytest.mark.cluster


def test_the_types_are_those_of_the_pinned_kubernetes(real_api: ApiServer) -> None:
    """Stale? `python -m tests.cluster.kubernetes_types`."""
    wanted = texts(real_api)
    assert {path for path, text in wanted.items() if path.read_text() != text} == set()
    assert set(wanted) == {OPENAPI, TYPES}
