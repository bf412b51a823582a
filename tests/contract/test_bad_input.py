"""Objects from every rule's wrong side: a person is told the same, word for word, by both API servers."""

from __future__ import annotations

import pytest

from insource.api.kinds import KINDS
from tests.cluster.kwok import apply_crds
from tests.contract.bad_input.answers import CRDS, answers, recorded
from tests.contract.bad_input.mutations import samples
from tests.contract.rights import fresh
from tests.servers import ApiServer

KNOWN = [kind.kind for kind in KINDS]


@pytest.mark.parametrize("kind", KNOWN)
def test_each_wrong_object_is_answered_as_recorded(api: ApiServer, kind: str) -> None:
    apply_crds(api, CRDS)
    with api.namespace(fresh("bad-input")) as namespace:
        assert list(answers(api, kind, namespace)) == recorded()[kind]


@pytest.mark.parametrize("kind", KNOWN)
def test_the_objects_that_they_are_made_of_are_good(api: ApiServer, kind: str) -> None:
    apply_crds(api, CRDS)
    of = next(each for each in KINDS if each.kind == kind)
    with api.namespace(fresh("good-input")) as namespace:
        where = f"namespaces/{namespace}/" if of.namespaced else ""
        path = f"/apis/insource.dev/v1alpha1/{where}{of.plural}?dryRun=All&fieldValidation=Strict"
        api.ok("POST", path, samples()[kind])


def test_nothing_wrong_is_taken() -> None:
    said = {each.splitlines()[0]: each.splitlines()[1].strip() for kind in KNOWN for each in recorded()[kind]}
    assert len(said) > 600
    assert [title for title, answer in said.items() if not answer.startswith(("400 ", "422 "))] == []
