"""AcceleratorClass: a kind of machine part that replicas run on, how to ask the scheduler for it, and its price."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from insource.api.conditions import StatusModel
from insource.api.fields import ATOMIC, Money, Spec, Text


class Toleration(Spec):
    """A Kubernetes toleration."""

    key: Annotated[str, Field(max_length=253)] = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: Annotated[str, Field(max_length=63)] = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""


class AcceleratorClassSpec(Spec):
    """How to get one, and what an hour of it costs."""

    resource_name: Annotated[str, Field(max_length=253, pattern=r"^([a-z0-9.-]+/[A-Za-z0-9._-]+)?$")] = ""
    """The extended resource, such as `nvidia.com/gpu`; empty for the CPU."""
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] = {}
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    runtime_class_name: Annotated[str, Field(max_length=253)] = ""
    price_per_hour: Money
    """Of one accelerator (of one replica, for the CPU), in the installation's currency."""
    overhead_factor: Money = "1"
    """Multiplies the price: power, host and network on top of the accelerator."""
    price_source: Text = ""
    """Where the price comes from, and when that was read."""


class AcceleratorClassStatus(StatusModel):
    """Nothing beyond conditions yet."""
