"""The vendors that `insource up` emulates, one Vendor each: OpenAI, and Microsoft's MAI models at Azure."""

from __future__ import annotations

from dataclasses import dataclass

from insource.wire.vocabulary import Dialect


@dataclass(frozen=True)
class LocalVendor:
    """One of them. `name` is that of its emulator, of its port and of its Vendor, and the price book's."""

    name: str
    dialect: Dialect
    path: str = ""
    """What the Vendor's endpoint has below the emulator's address."""
    requests_per_minute: int = 0
    """`limits.requestsPerMinute` of the Vendor; 0: none set."""

    @property
    def secret(self) -> str:
        """Name of the Secret with its key."""
        return f"{self.name}-key"


IMAGES_TIER = 6
"""The highest quota of MAI-Image: whoever tries it out here should not wait for the next minute."""
LOCAL_VENDORS = (
    LocalVendor("openai", Dialect.OPENAI, "/v1"),
    LocalVendor("azure-speech", Dialect.AZURE_SPEECH),
    LocalVendor("azure-images", Dialect.AZURE_IMAGES, requests_per_minute=2 * IMAGES_TIER),
)
