"""The first two segments of a URL's path: a ModelDeployment's namespace and name, or one of plain `/v1`."""

PLAIN = "v1"
PLAIN_WORDS = ("audio", "chat", "completions", "embeddings", "images", "models")
"""What follows `/v1/` where the gateway finds the ModelDeployment by the request's `model`."""


def is_plain(namespace: str, name: str) -> bool:
    """Whether `/<namespace>/<name>/` is a path of plain `/v1`, and so cannot lead to a ModelDeployment."""
    return namespace == PLAIN and name in PLAIN_WORDS
