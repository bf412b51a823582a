"""AcceleratorClass: a kind of machine part that replicas run on, how to ask the scheduler for it, and its price."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from insource.api.conditions import StatusModel
from insource.api.fields import ATOMIC, LABEL_VALUE_PATTERN, Money, Spec, Text, rule, rules
from insource.api.toleration import Toleration

OPTIONAL_NAME = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"


class AcceleratorClassSpec(Spec):
    """How to get one, and what an hour of it costs."""

    resource_name: Annotated[str, Field(max_length=253, pattern=r"^([a-z0-9.-]+/[A-Za-z0-9._-]+)?$")] = ""
    """The extended resource, such as `nvidia.com/gpu`; empty for the CPU."""
    resource_claim_template: Annotated[str, Field(max_length=253, pattern=OPTIONAL_NAME)] = ""
    """Instead of `resourceName`: a ResourceClaimTemplate (dynamic resource allocation) for one accelerator, in the
    namespace of each ModelDeployment that uses the class."""
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] = {}
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16, json_schema_extra=ATOMIC)] = ()
    runtime_class_name: Annotated[str, Field(max_length=253)] = ""
    scheduler_name: Annotated[str, Field(max_length=253, pattern=OPTIONAL_NAME)] = ""
    """The scheduler of its pods; empty: the cluster's own."""
    queue_name: Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)] = ""
    """Kueue's LocalQueue, in the namespace of each ModelDeployment that uses the class; empty: no queue."""
    price_per_hour: Money
    """Of one accelerator (of one replica, for the CPU), in the installation's currency."""
    memory_gib: Annotated[Annotated[int, Field(ge=1, le=65_536)] | None, Field(alias="memoryGiB")] = None
    """Of one accelerator: a model that needs more than a replica's accelerators have is not started. Absent: not
    known, nothing is checked."""
    overhead_factor: Money = "1"
    """Multiplies the price: power, host and network on top of the accelerator."""
    price_source: Text = ""
    """Where the price comes from, and when that was read."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.resourceName) || !has(self.resourceClaimTemplate) || self.resourceName == ''"
                " || self.resourceClaimTemplate == ''",
                "an accelerator is either an extended resource or a resource claim: set one of resourceName and"
                " resourceClaimTemplate",
                fieldPath=".resourceClaimTemplate",
            )
        )
    )


class AcceleratorClassStatus(StatusModel):
    """What there is of it; absent where the operator may not look at nodes (`--watch-namespace`)."""

    nodes: Annotated[int, Field(ge=0)] | None = None
    """Nodes that a replica could run on: by the selector, by taints, and by having the resource."""
    allocatable: Annotated[int, Field(ge=0)] | None = None
    """Accelerators of these nodes, in use or not; absent for the CPU and for resource claims."""
    allocated: Annotated[int, Field(ge=0)] | None = None
    """Accelerators that replicas of ModelDeployments have (replicas, for the CPU). Others' pods are not counted."""
