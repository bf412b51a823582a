"""A toleration, as classes and pods have it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from insource.api.fields import Spec


class Toleration(Spec):
    """A Kubernetes toleration."""

    key: Annotated[str, Field(max_length=253)] = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: Annotated[str, Field(max_length=63)] = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
