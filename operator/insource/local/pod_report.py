"""What the API is told of one pod: each status once, and again later where it could not be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from insource.env import Clock
from insource.local.objects import Object
from insource.local.store_errors import ApiError

RETRY_S = 2.0


class PodReport:
    """The statuses of one pod. A pod whose status cannot be written runs on."""

    def __init__(self, write: Callable[[Object, Object], None], clock: Clock, log: Any) -> None:
        """`write`: (pod, status); may raise ApiError. `log`: a structlog logger that names the pod."""
        self._write = write
        self._clock = clock
        self._log = log
        self._told: Object | None = None
        self.retry_at_s: float | None = None
        """When (monotonic) `tell` is to be called again, because the last status is not written yet."""

    def tell(self, pod: Object, status: Object) -> bool:
        """Writes a status that is new; returns whether it did."""
        # What was written last is compared too: whatever the API makes of it, it is not written over and over.
        if status in (self._told, pod.get("status")):
            self.retry_at_s = None
            return False
        try:
            self._write(pod, status)
        except ApiError as error:
            if self.retry_at_s is None:
                self._log.warning("the pod's status could not be written; trying again", error=error.message)
            self.retry_at_s = self._clock.monotonic() + RETRY_S
            return False
        self._told = status
        self.retry_at_s = None
        return True
