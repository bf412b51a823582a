"""The environment: complete, or a clear word about what is wrong with it."""

from __future__ import annotations

import pytest

from insource.adapter.settings import InHouseSettings, SettingsError, VendorSettings, settings_from_environment
from insource.wire.vocabulary import Dialect

COMMON = {
    "POD_IP": "10.0.0.1", "POD_NAME": "p", "POD_UID": "u", "INSOURCE_NAMESPACE": "voice", "INSOURCE_TOKENS_DIR": "/t",
    "INSOURCE_LEDGER_URL": "http://ledger:1/", "INSOURCE_LEDGER_TOKEN_FILE": "/l", "INSOURCE_WAL_DIR": "/w",
    "INSOURCE_DRAIN_GRACE_S": "30", "INSOURCE_MAX_BODY_BYTES": "33554432",
}  # fmt: skip
IN_HOUSE = COMMON | {
    "INSOURCE_KIND": "inHouse", "INSOURCE_DEPLOYMENT": "dictation", "INSOURCE_BACKEND": "inhouse",
    "INSOURCE_REVISION": "r", "INSOURCE_MODALITY": "Transcription", "INSOURCE_MODEL": "m",
    "INSOURCE_SERVER_URL": "http://10.0.0.1:8000/v1", "INSOURCE_SERVER_HEALTH_URL": "http://10.0.0.1:8000/health",
    "INSOURCE_REQUEST_MODEL": "tiny.en", "INSOURCE_SLOTS": "2", "INSOURCE_REQUEST_TIMEOUT_S": "600",
}  # fmt: skip
VENDOR = COMMON | {
    "INSOURCE_KIND": "vendor", "INSOURCE_VENDOR": "openai", "INSOURCE_DIALECT": "OpenAI",
    "INSOURCE_ENDPOINT": "https://api.example/v1", "INSOURCE_VENDOR_KEY_FILE": "/k",
    "INSOURCE_VENDOR_SECRET": "openai-key/key", "INSOURCE_ROUTES_FILE": "/r", "INSOURCE_REQUESTS_PER_MINUTE": "0",
    "INSOURCE_CONCURRENCY": "0",
}  # fmt: skip


def test_both_kinds() -> None:
    here = settings_from_environment(IN_HOUSE)
    assert isinstance(here.backend, InHouseSettings)
    assert (here.backend.slots, here.ledger_url, here.role_ports["spill"]) == (2, "http://ledger:1", 8103)
    there = settings_from_environment(VENDOR)
    assert isinstance(there.backend, VendorSettings)
    assert there.backend.endpoint == "https://api.example/v1"


@pytest.mark.parametrize("complete", [IN_HOUSE, VENDOR], ids=["inHouse", "vendor"])
def test_each_missing_variable_is_named(complete: dict[str, str]) -> None:
    for name in complete:
        with pytest.raises(SettingsError, match=f"^{name} is not set"):
            settings_from_environment({key: value for key, value in complete.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INSOURCE_KIND", "other"),
        ("INSOURCE_SLOTS", "many"),
        ("INSOURCE_SLOTS", "0"),
        ("INSOURCE_MODALITY", "Smell"),
        ("INSOURCE_SERVER_URL", "file:///etc/passwd"),
        ("INSOURCE_DRAIN_GRACE_S", "nan"),
    ],
)
def test_wrong_values_are_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is "):
        settings_from_environment(IN_HOUSE | {name: value})


def test_the_way_to_a_vendor() -> None:
    plain = settings_from_environment(VENDOR).backend
    assert isinstance(plain, VendorSettings)
    assert (plain.proxy_url, plain.proxy_credentials_file, plain.ca_file) == ("", None, None)
    way = {"INSOURCE_PROXY_URL": "http://proxy:3128", "INSOURCE_CA_FILE": "/ca/ca.crt"}
    here = settings_from_environment(VENDOR | way | {"INSOURCE_PROXY_CREDENTIALS_FILE": "/p/c"}).backend
    assert isinstance(here, VendorSettings)
    assert here.proxy_url == "http://proxy:3128"
    assert (str(here.proxy_credentials_file), str(here.ca_file)) == ("/p/c", "/ca/ca.crt")
    with pytest.raises(SettingsError, match=r"^INSOURCE_PROXY_URL is "):
        settings_from_environment(VENDOR | {"INSOURCE_PROXY_URL": "proxy:3128"})


def test_a_dialect_is_one_of_ours_and_azure_openai_has_a_version() -> None:
    azure = VENDOR | {"INSOURCE_DIALECT": "AzureOpenAI", "INSOURCE_ENDPOINT": "https://acme.openai.azure.com"}
    with pytest.raises(SettingsError, match=r"^INSOURCE_API_VERSION is not set"):
        settings_from_environment(azure)
    here = settings_from_environment(azure | {"INSOURCE_API_VERSION": "2024-10-21"}).backend
    assert isinstance(here, VendorSettings)
    assert (here.dialect, here.api_version) == (Dialect.AZURE_OPENAI, "2024-10-21")
    with pytest.raises(SettingsError, match=r"^INSOURCE_DIALECT is 'Klingon'; it must be one of: OpenAI, OpenAICom"):
        settings_from_environment(VENDOR | {"INSOURCE_DIALECT": "Klingon"})
