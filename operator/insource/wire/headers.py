"""Header names and ports on the way client -> Envoy -> adapter. Lower case, as Envoy writes them."""

REQUEST_ID = "x-request-id"
"""Set by Envoy, never by the client."""
ATTEMPT_COUNT = "x-envoy-attempt-count"
"""1 for the first try of a request; set by Envoy."""
HOP = "x-insource-hop"
"""Absent on the client's own request; names the agent's re-entry (`hold-2-1`) on that one. Part of the attempt id."""
NAMESPACE = "x-insource-namespace"
DEPLOYMENT = "x-insource-deployment"
"""The ModelDeployment's name, without its namespace."""
CLIENT = "x-insource-client"
"""The authenticated client's name."""
TOKEN = "x-insource-gateway-token"
"""Proof that a request came through the gateway: hex HMAC-SHA256 of the namespace under the master."""
OUTCOME = "x-insource-outcome"
"""On every adapter answer: one of `Outcome`. Stripped before the client sees it."""
STEPS = "x-insource-steps"
"""On an image server's answer: sampling steps that each picture took."""

SERVER_PORT = 8000
"""The model server, on the pod's address."""
ADMIN_PORT = 8100
"""Adapter: /healthz, /readyz, /state, /metrics."""
ROLE_PORTS = {"serve": 8101, "rescue": 8102, "spill": 8103, "shadow": 8104}
"""Adapter: the port that a request comes in by is the attempt's role. Also the Service's port names."""
