"""TokenReview as the cluster answers it: another audience's token is nobody's, silence is no refusal."""

from __future__ import annotations

from typing import Any

import pytest

from insource.kube.client import ApiError
from insource.ledger.auth import Caller, ClusterTokenReviewer, ReviewUnavailableError, caller_of

USER = "system:serviceaccount:voice:insource-adapter"


class Client:
    """Answers TokenReviews with one status, or an error."""

    def __init__(self, status: dict[str, Any] | ApiError) -> None:
        self.status = status

    async def token_review(self, token: str, audiences: list[str]) -> dict[str, Any]:
        if isinstance(self.status, ApiError):
            raise self.status
        return self.status


@pytest.mark.parametrize(
    ("status", "user"),
    [
        ({"authenticated": True, "user": {"username": USER}, "audiences": ["insource-ledger"]}, USER),
        ({"authenticated": True, "user": {"username": USER}, "audiences": ["kubernetes"]}, None),
        ({"authenticated": True, "user": {"username": USER}}, None),
        ({"authenticated": False, "error": "expired"}, None),
        ({}, None),
    ],
)
async def test_only_a_good_token_of_our_audience_is_somebodys(status: dict[str, Any], user: str | None) -> None:
    reviewer = ClusterTokenReviewer(Client(status))  # type: ignore[arg-type]
    assert await reviewer.review("token", "insource-ledger") == user


async def test_an_api_server_that_does_not_answer_refuses_nobody() -> None:
    reviewer = ClusterTokenReviewer(Client(ApiError(0, "Unreachable", "gone")))  # type: ignore[arg-type]
    with pytest.raises(ReviewUnavailableError):
        await reviewer.review("token", "insource-ledger")


@pytest.mark.parametrize("user", ["admin", "system:serviceaccount:voice", "system:serviceaccount::x", "x" + USER])
def test_only_service_accounts_are_callers(user: str) -> None:
    assert caller_of(user) is None
    assert caller_of(USER) == Caller("voice", "insource-adapter")
