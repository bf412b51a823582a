"""The decisions of the reconciler: everything it will do is in the plan that these three functions return.

Pure: the same snapshot gives the same plan, and the plan for a snapshot in which it has been carried out is empty.
"""

from __future__ import annotations

from insource.domain.snapshot import DeploymentSnapshot, NamespaceSnapshot, Plan, VendorSnapshot


def plan_deployment(snapshot: DeploymentSnapshot) -> Plan:
    """What to do for one ModelDeployment."""
    raise NotImplementedError


def plan_vendor(snapshot: VendorSnapshot) -> Plan:
    """What to do for one Vendor's adapter."""
    raise NotImplementedError


def plan_namespace(snapshot: NamespaceSnapshot) -> Plan:
    """What every adapter of a namespace needs beside its own objects."""
    raise NotImplementedError
