"""All controllers of the embedded cluster in one control loop."""

from __future__ import annotations

from insource.env import Env
from insource.local.claim_protection import ClaimProtectionController
from insource.local.collection import CollectionController
from insource.local.control_loop import Controller, ControlLoop
from insource.local.deployments import DeploymentController
from insource.local.endpoints import EndpointSliceController
from insource.local.namespaces import NamespaceController
from insource.local.replica_sets import ReplicaSetController
from insource.local.role_aggregation import RoleAggregationController
from insource.local.scheduler import Scheduler
from insource.local.service_accounts import ServiceAccountController
from insource.local.store import Store


def controllers(store: Store, env: Env) -> ControlLoop:
    """`await loop.run()`, or `loop.settle()` where time does not pass by itself; `loop.close()` in the end."""
    every: list[Controller] = [
        CollectionController(store),
        NamespaceController(store, env),
        ServiceAccountController(store),
        DeploymentController(store, env),
        ReplicaSetController(store, env),
        Scheduler(store, env),
        EndpointSliceController(store),
        RoleAggregationController(store),
        ClaimProtectionController(store),
    ]
    return ControlLoop(store, every, env.clock)
