"""The roles of our own programs, from the chart's files, and the bindings that give them to somebody."""

from __future__ import annotations

from typing import Any

import yaml

from insource.cli.installation import package_file
from insource.kube import resources
from insource.kube.resources import Object, Resource, resource_of

FOLDER = "insource/files"
COMPONENTS = ("operator", "gateway", "ledger")


def component_roles(component: str, namespace: str, subject: Object) -> list[tuple[Resource, Object]]:
    """The component's roles, each bound to `subject`, in the order in which they can be applied.

    What has a namespace is in `namespace`, the component's own. Raises OSError if the files are not there.
    """
    found = []
    for role in _read(f"{component}-role.yaml"):
        of_cluster = role["kind"] == "ClusterRole"
        place = {} if of_cluster else {"namespace": namespace}
        role["metadata"].update(place)
        binding = {
            "apiVersion": role["apiVersion"],
            "kind": f"{role['kind']}Binding",
            "metadata": {"name": role["metadata"]["name"], **place},
            "roleRef": {
                "apiGroup": resources.ROLES.group,
                "kind": role["kind"],
                "name": role["metadata"]["name"],
            },
            "subjects": [subject],
        }
        found += [(resource_of(role), role), (resource_of(binding), binding)]
    return found


def people_roles() -> list[tuple[Resource, Object]]:
    """What adds our own kinds to the roles view, edit and admin. Raises OSError if the file is not there."""
    return [(resource_of(role), role) for role in _read("people-roles.yaml")]


def user(name: str) -> Object:
    """A user as a binding's subject."""
    return {"apiGroup": resources.ROLES.group, "kind": "User", "name": name}


def _read(name: str) -> list[dict[str, Any]]:
    text = (package_file("charts") / FOLDER / name).read_text()
    return [document for document in yaml.safe_load_all(text) if document is not None]
