"""Views that the golden files and the real Envoy both see."""

from insource.gateway.render.bootstrap import BootstrapSettings
from insource.gateway.render.listeners import ListenerSettings
from insource.gateway.view import DeploymentKey, DeploymentView, Pool
from insource.wire.vocabulary import BackendKind, Role

_A, _B = ("10.0.0.1", 8101), ("10.0.0.2", 8101)

IN_HOUSE = DeploymentView(
    DeploymentKey("voice", "dictation"),
    version=3,
    generation=2,
    serve=(
        Pool("inhouse", "r1", BackendKind.IN_HOUSE, "", Role.SERVE, 90, (_A, _B)),
        Pool("inhouse", "r2", BackendKind.IN_HOUSE, "", Role.SERVE, 10, (("10.0.0.3", 8101),)),
    ),
    rescue=(Pool("inhouse", "r1", BackendKind.IN_HOUSE, "", Role.RESCUE, 1, (("10.0.0.1", 8102),)),),
    spill=(Pool("openai", "", BackendKind.VENDOR, "openai", Role.SPILL, 1, (("10.0.0.9", 8103),)),),
    clients=("alice", "bob"),
)
VENDOR = DeploymentView(
    DeploymentKey("voice", "captions"),
    version=1,
    generation=1,
    serve=(Pool("openai", "", BackendKind.VENDOR, "openai", Role.SERVE, 100, (("10.0.0.9", 8101),)),),
    clients=("alice",),
    request_timeout_s=60,
    max_body_bytes=1 << 20,
)
COLD = DeploymentView(DeploymentKey("voice", "cold.one"), version=1, generation=1)
ALL = (IN_HOUSE, VENDOR, COLD)

BOOTSTRAP = BootstrapSettings("gateway", "/run/ads.sock", "/run/envoy-admin.sock", "/state/listeners.json", 1 << 30)
LISTENERS = ListenerSettings("127.0.0.1", 8080, "/run/reentry.sock", "/state/access.log", "boot1")
