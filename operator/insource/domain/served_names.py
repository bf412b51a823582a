"""Who answers to a model name: the one rule by which the gateway resolves it and the operator tells of contests.

A client may send the full name `<namespace>/<name>` of any ModelDeployment that it may call, or one of its
`servedNames`. Full names come first, so that nobody can take another's; then the client's own namespaces; then age.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

ANY = "*"
Admission = tuple[str, str]
"""(namespace, client) who may call; either may be `ANY`."""
Contest = tuple[str, "Claim"]
"""A name, and who is asked instead."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A ModelDeployment as one that may answer to a name."""

    namespace: str
    name: str
    created: str
    """`metadata.creationTimestamp`, RFC 3339 in whole seconds."""
    admits: tuple[Admission, ...] = ()

    @property
    def full_name(self) -> str:
        """What always means this one."""
        return f"{self.namespace}/{self.name}"

    @property
    def reaches_out(self) -> bool:
        """Whether clients of other namespaces may call it."""
        return any(namespace != self.namespace for namespace, _ in self.admits)


def admissions_of(own: str, clients: Iterable[str]) -> tuple[Admission, ...]:
    """`spec.access.clients` of a ModelDeployment in namespace `own`, read.

    `*` is everybody; a name without a namespace is a client of `own`; nothing listed is all clients of `own`.
    """
    return tuple(sorted({_admission(own, each) for each in clients})) or ((own, ANY),)


def _admission(own: str, listed: str) -> Admission:
    if listed == ANY:
        return (ANY, ANY)
    namespace, slash, name = listed.partition("/")
    return (namespace, name) if slash else (own, listed)


def precedence(claim: Claim, model: str, own: Container[str]) -> tuple[bool, bool, str, str, str]:
    """Of all that claim `model` and admit a client, the one with the least of these answers it.

    `own` are the client's own namespaces.
    """
    return (model != claim.full_name, claim.namespace not in own, claim.created, claim.namespace, claim.name)


def contests(names: Iterable[str], mine: Claim, rivals: Mapping[str, Iterable[Claim]]) -> tuple[Contest, ...]:
    """Those of `names` that some client of one namespace sends to another than `mine` though neither is nearer.

    `rivals` are the others that answer to each name. That a client's own namespace comes first is no contest, unless
    the name is another's full name. A client of several namespaces is not looked at: nobody here knows of it.
    """
    found = []
    for name in names:
        senior = min(
            (each for each in rivals.get(name, ()) if _takes(name, each, mine)),
            key=lambda each: precedence(each, name, ()),
            default=None,
        )
        if senior is not None:
            found.append((name, senior))
    return tuple(found)


def _takes(name: str, other: Claim, mine: Claim) -> bool:
    return any(
        (other.full_name == name or (other.namespace in own) == (mine.namespace in own))
        and precedence(other, name, own) < precedence(mine, name, own)
        for own in _common(other, mine)
    )


def _common(one: Claim, two: Claim) -> Iterable[tuple[str, ...]]:
    """Own namespaces of the clients that both admit; empty for a client of a namespace that is neither's."""
    for namespace, client in one.admits:
        for other_namespace, other_client in two.admits:
            if ANY not in (client, other_client) and client != other_client:
                continue
            if ANY not in (namespace, other_namespace) and namespace != other_namespace:
                continue
            met = other_namespace if namespace == ANY else namespace
            yield () if met == ANY else (met,)
