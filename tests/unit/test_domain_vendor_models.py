"""Until when a Vendor serves the models in use: whose day counts, what is said of it, when it is looked at again."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from insource.api import conditions as c
from insource.api.conditions import ConditionModel
from insource.api.kinds import Misfit, parse
from insource.api.model_deployment import ModelDeploymentSpec
from insource.api.vendor import VendorSpec, VendorStatus
from insource.domain.plan import plan_vendor
from insource.domain.snapshot import Catalogue, Plan, VendorAdapter, VendorSnapshot, child_of
from insource.domain.vendor_models import LOOK_AT_LEAST_EVERY_S, day_of
from insource.wire.gateway import AdapterState, ListedModel, ModelsReport
from tests.unit.domain_world import SETTINGS, builtin_catalogue, spec, vendor_object

NO_CATALOGUE = Catalogue()
BUILT_IN = builtin_catalogue()
WHISPER = "whisper-1"


def deployment(name: str, model: str, vendor: str = "openai", **status: Any) -> Any:
    backends = [{"name": "theirs", "vendor": {"name": vendor, "model": model}}]
    wanted = spec(backends=backends, traffic={"primary": "theirs"})
    metadata = {"name": name, "namespace": "voice"}
    obj = {"kind": "ModelDeployment", "metadata": metadata, "spec": wanted, "status": status}
    return parse(obj, ModelDeploymentSpec)


def listed(at: int = 1, problem: str = "", **days: str | None) -> ModelsReport:
    """A list with these models (`_` for `-`); None: in use, and not in it."""
    models = [
        ListedModel(id=name.replace("_", "-"), listed=day is not None, shutdown_date=day or "")
        for name, day in sorted(days.items())
    ]
    return ModelsReport(models=tuple(models), listed_at=at, problem=problem)


class Shop:
    """One Vendor whose adapter is ready, and the operator that looks at it."""

    def __init__(
        self, *deployments: Any, report: ModelsReport | None = None, catalogue: Catalogue = NO_CATALOGUE, **changes: Any
    ) -> None:
        self.object = vendor_object(**changes)
        self.deployments = deployments
        self.unfit: tuple[Misfit, ...] = ()
        self.catalogue = catalogue
        self.report = report
        self.live: dict[tuple[str, str], dict[str, Any]] = {}
        self.events: list[tuple[str, str]] = []
        self.now = "2026-11-30T12:00:00Z"

    def look(self) -> Plan:
        plan = plan_vendor(
            VendorSnapshot(
                vendor=parse(copy.deepcopy(self.object), VendorSpec),
                deployments=self.deployments,
                settings=SETTINGS,
                now=self.now,
                children=tuple(child_of(obj, keep_live=True) for obj in self.live.values()),
                adapter=VendorAdapter(ready=1, credentials_resolved=True, models=self.report),
                catalogue=self.catalogue,
                unfit_deployments=self.unfit,
            )
        )
        for obj in plan.applies:
            self.live[obj["kind"], obj["metadata"]["name"]] = copy.deepcopy(obj)
        if plan.status is not None:
            VendorStatus.model_validate(plan.status)
            self.object["status"] = plan.status
        self.events += [(event.type, event.reason) for event in plan.events if event.reason != "Available"]
        return plan

    def told(self) -> tuple[str, str, str]:
        """Status, reason and message of the condition, once looked at."""
        self.look()
        found = [item for item in self.object["status"]["conditions"] if item["type"] == c.MODELS_OFFERED]
        return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else ("", "", "")

    @property
    def models(self) -> list[dict[str, Any]]:
        models: list[dict[str, Any]] = self.object["status"].get("models", [])
        return models


def test_a_day_that_the_vendor_names_is_told_with_model_users_and_what_to_do() -> None:
    shop = Shop(deployment("notes", WHISPER), deployment("dictation", WHISPER), report=listed(whisper_1="2027-02-26"))
    shop.catalogue = BUILT_IN
    status, reason, message = shop.told()
    assert (status, reason) == ("False", "ShuttingDown")
    assert message.startswith(
        '"whisper-1" (used by dictation, notes) is shut down on 2027-02-26, the vendor says (in-house instead: '
    )
    assert "whisper-large-v3-turbo" in message
    assert message.endswith("Name another model of the vendor in these backends, or take the work in-house")
    assert shop.models == [
        {"id": WHISPER, "inUse": True, "listed": True, "shutdownDate": "2027-02-26", "source": "Vendor"}
    ]


def test_it_keeps_nothing_from_being_ready() -> None:
    shop = Shop(deployment("notes", WHISPER), report=listed(whisper_1=None))
    assert shop.told()[:2] == ("False", "NotListed")
    conditions = {item["type"]: item["status"] for item in shop.object["status"]["conditions"]}
    assert conditions[c.READY] == "True"
    assert not {c.STALLED, c.RECONCILING} & conditions.keys()


@pytest.mark.parametrize(
    ("today", "status", "reason"),
    [
        ("2026-11-27T23:59:59Z", "True", "Offered"),
        ("2026-11-28T00:00:00Z", "False", "ShuttingDown"),
        ("2027-02-25T23:59:59Z", "False", "ShuttingDown"),
        ("2027-02-26T00:00:00Z", "False", "ShutDown"),
        ("2031-01-01T00:00:00Z", "False", "ShutDown"),
    ],
)
def test_ninety_days_before_and_from_the_day_on(today: str, status: str, reason: str) -> None:
    shop = Shop(deployment("notes", WHISPER), report=listed(whisper_1="2027-02-26"))
    shop.now = today
    assert shop.told()[:2] == (status, reason)


def test_days_pass_without_anybody_saying_so() -> None:
    """Looked at again when a day turns, never later than some hours on; a message changes only with the reason."""
    shop = Shop(deployment("notes", WHISPER), report=listed(whisper_1="2027-02-26"))
    shop.now = "2026-11-27T23:59:00Z"
    assert shop.look().requeue_after_s == 60
    assert shop.told()[1] == "Offered"
    shop.now = "2026-11-28T00:00:00Z"
    assert shop.look().requeue_after_s == LOOK_AT_LEAST_EVERY_S
    assert shop.events == [("Warning", "ShuttingDown")]
    shop.now = "2027-02-25T23:00:00Z"
    plan = shop.look()
    assert (plan.empty, plan.requeue_after_s) == (True, 3600)
    shop.now = "2027-02-26T00:00:00Z"
    plan = shop.look()
    assert (plan.empty, plan.requeue_after_s) == (False, None)
    assert shop.events == [("Warning", "ShuttingDown"), ("Warning", "ShutDown")]
    assert shop.told()[2].startswith('"whisper-1" (used by notes) has been shut down since 2027-02-26, the vendor says')


def test_where_the_vendor_names_no_day_the_catalogue_does() -> None:
    shop = Shop(deployment("notes", WHISPER), report=listed(whisper_1=""), catalogue=BUILT_IN)
    status, reason, message = shop.told()
    assert (status, reason) == ("False", "ShuttingDown")
    assert "is shut down on 2027-02-26, the catalogue says" in message
    assert shop.models == [
        {"id": WHISPER, "inUse": True, "listed": True, "shutdownDate": "2027-02-26", "source": "Catalogue"}
    ]
    shop.report = listed(whisper_1="2028-01-01")
    assert shop.told()[:2] == ("True", "Offered"), "its own word counts"


def test_a_vendor_without_a_list_is_judged_by_the_catalogue_alone() -> None:
    shop = Shop(
        deployment("notes", "whisper", vendor="azure-openai"),
        catalogue=BUILT_IN,
        dialect="AzureOpenAI",
        endpoint="https://acme.openai.azure.com",
        apiVersion="v1",
        report=listed(whisper="2040-01-01"),  # of an adapter that went: this dialect lists no deployments
    )
    shop.object["metadata"]["name"] = "azure-openai"
    assert shop.told()[1] == "ShuttingDown"
    assert shop.models == [{"id": "whisper", "inUse": True, "shutdownDate": "2026-12-15", "source": "Catalogue"}]


def test_what_nobody_knows_is_told_as_unknown_with_why() -> None:
    shop = Shop(deployment("notes", "own-model"), catalogue=BUILT_IN)
    assert shop.told()[:2] == ("Unknown", "NotTold")
    shop.report = ModelsReport(problem="the vendor openai has no list of models (it answers 404)", has_none=True)
    assert shop.told() == (
        "Unknown",
        "NotTold",
        'neither the vendor nor the catalogue says until when it serves "own-model"; '
        "the vendor openai has no list of models (it answers 404)",
    )
    assert shop.events == []


def test_the_catalogue_may_know_a_model_without_a_day() -> None:
    shop = Shop(deployment("notes", "gpt-transcribe"), catalogue=BUILT_IN)
    assert shop.told()[:2] == ("True", "Offered")


def test_the_worst_comes_first_and_a_few_are_named() -> None:
    many = [deployment(f"d{number}", f"m-{number}") for number in range(7)]
    users = [deployment(f"user-{number}", "m-3") for number in range(4)]
    report = listed(m_0="2027-01-02", m_1=None, m_2="2026-11-01", m_3="2026-10-01", m_4="2027-01-01", m_5="", m_6=None)
    status, reason, message = Shop(*many, *users, report=report).told()
    assert (status, reason) == ("False", "ShutDown")
    places = [message.index(f'"m-{number}"') for number in (3, 2, 1, 6)]
    assert places == sorted(places)
    assert "used by d3, user-0, user-1 and 2 more" in message
    assert " and 2 more. Name another model" in message
    assert '"m-5"' not in message


def test_a_long_message_fits_its_field() -> None:
    names = [f"{number}-{'x' * 250}" for number in range(9)]
    report = ModelsReport(models=tuple(ListedModel(id=name, listed=False) for name in names), listed_at=1)
    shop = Shop(*[deployment(f"d{number}", name) for number, name in enumerate(names)], report=report)
    shop.look()
    for item in shop.object["status"]["conditions"]:
        ConditionModel.model_validate(item)


def test_used_is_what_is_named_or_has_traffic_and_is_allowed() -> None:
    leaving = {"traffic": {"vendors": {"old": {"name": "openai", "model": "whisper-0"}}}}
    elsewhere = {"traffic": {"vendors": {"old": {"name": "azure", "model": "whisper-9"}}}}
    shop = Shop(
        deployment("a", "m-1"),
        deployment("b", "m-3", **leaving),
        deployment("c", "m-4", vendor="azure", **elsewhere),
        deployment("d", "m-5"),
        allowedDeployments={"names": ["a", "b", "c", "misfit"]},
    )
    shop.unfit = (Misfit("ModelDeployment", "misfit", "voice", "u", 1, "spec: wrong", status=leaving),)
    shop.look()
    assert [item["id"] for item in shop.models] == ["m-1", "m-3", "whisper-0"]
    shop.report = listed(whisper_0=None)
    assert "(used by b, misfit)" in shop.told()[2]


def test_nothing_is_said_while_nothing_is_used() -> None:
    shop = Shop(report=listed(whisper_1="2026-12-01"), catalogue=BUILT_IN)
    assert shop.told() == ("", "", "")
    assert shop.look().requeue_after_s is None
    assert shop.models == [
        {"id": WHISPER, "inUse": False, "listed": True, "shutdownDate": "2026-12-01", "source": "Vendor"}
    ]
    shop.report = listed()
    shop.look()
    assert "models" not in shop.object["status"]


def test_what_was_told_stands_until_somebody_tells_otherwise() -> None:
    """An operator or adapter that has restarted, one of an older release, a vendor that is away: nothing is written."""
    shop = Shop(deployment("a", "m-1"), deployment("b", "m-2"), deployment("d", "m-3"), catalogue=BUILT_IN)
    shop.report = listed(m_1="2027-02-01", m_2=None, m_3="", other="2027-05-05")
    shop.look()
    assert len(shop.models) == 4
    away = ModelsReport(problem="the vendor openai answers 500 when it is asked for its models")
    for report in (None, AdapterState(ready=True).vendor_models, away):
        shop.report = report
        assert shop.look().empty
    # The list comes back as it was.
    shop.report = listed(at=2, m_1="2027-02-01", m_2=None, m_3="", other="2027-05-05")
    assert shop.look().empty
    # The vendor has no list any more.
    shop.report = ModelsReport(has_none=True)
    assert shop.told()[:2] == ("Unknown", "NotTold")
    assert [item["id"] for item in shop.models] == ["m-1", "m-2", "m-3"]


def test_another_wire_format_does_not_inherit_the_list() -> None:
    shop = Shop(deployment("a", "m-1"), report=listed(m_1="2027-02-01"))
    assert shop.told()[1] == "ShuttingDown"
    shop.report = None
    shop.object["spec"] |= {"dialect": "AzureImages", "endpoint": "https://acme.services.ai.azure.com"}
    assert shop.told()[1] == "NotTold"


def test_one_event_for_each_turn_for_the_worse_and_none_for_more_words() -> None:
    shop = Shop(deployment("a", "m-1"), report=listed(m_1=""))
    shop.look()
    shop.report = listed(m_1="2027-01-01")
    shop.look()
    shop.deployments += (deployment("b", "m-1"),)
    shop.look()
    assert shop.events == [("Warning", "ShuttingDown")]
    shop.report = listed(m_1="")
    assert shop.told()[1] == "Offered"
    shop.report = listed(m_1=None)
    shop.look()
    assert shop.events == [("Warning", "ShuttingDown"), ("Warning", "NotListed")]


def test_more_models_than_the_status_holds() -> None:
    dated = [ListedModel(id=f"m-{number:03}", shutdown_date=f"2027-06-{number % 28 + 1:02}") for number in range(127)]
    used = [deployment(f"d{number}", f"z-{number}") for number in range(3)]
    shop = Shop(*used, report=ModelsReport(models=tuple(dated), listed_at=1))
    shop.look()
    assert len(shop.models) == 128
    assert [item["id"] for item in shop.models if item["inUse"]] == ["z-0", "z-1", "z-2"]
    gone = {each.id for each in dated} - {item["id"] for item in shop.models}
    assert {each.shutdown_date for each in dated if each.id in gone} == {"2027-06-28"}


def test_later_days_are_named_too() -> None:
    shop = Shop(deployment("a", "m-1"), deployment("b", "m-2"), report=listed(m_1="2029-01-01", m_2="2028-12-31"))
    assert shop.told() == (
        "True",
        "Offered",
        'no model in use is known to be shut down in the next 90 days; the first after them is "m-2", on 2028-12-31',
    )


@pytest.mark.parametrize("text", ["", None, "soon", "2027-02-30", "2027-2-3", 7, "0000-00-00"])
def test_what_is_no_day(text: Any) -> None:
    assert day_of(text) is None


def test_states_of_older_and_newer_adapters_are_understood() -> None:
    old = AdapterState.model_validate_json('{"ready": true, "credentials_resolved": true}')
    assert old.vendor_models is None
    new = '{"ready": true, "vendor_models": {"models": [{"id": "m", "more": 1}], "listed_at": 5, "later": []}, "x": 1}'
    told = AdapterState.model_validate_json(new).vendor_models
    assert told is not None
    assert told.models == (ListedModel(id="m"),)
