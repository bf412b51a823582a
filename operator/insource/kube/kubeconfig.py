"""Which API server, and by which credentials: the pod's own, or a kubeconfig's, as `kubernetes.aio.config` reads it.

It never logs or repeats a credential.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from yaml import YAMLError

from insource.env import Env
from insource.kube.aiohttp_client import AiohttpClient
from insource.kube.client import ApiError


async def connect(kubeconfig: str | None, env: Env, *, context: str | None = None) -> AiohttpClient:
    """A client of the cluster that `kubeconfig` names; None: the pod's own cluster, else the user's default file.

    `context` is one of the file's; None: its current one.

    Raises `ApiError` with what is wrong if there is no usable configuration.
    """
    # Note: never at module level, for it costs 1.2 s of CPU and 20 MB (pydantic models that we never use).
    from kubernetes.aio import config as library
    from kubernetes.aio.client import Configuration

    config: Any = library  # its functions carry no types
    configuration: Any = Configuration()
    try:
        if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)

            async def refresh() -> None:
                configuration.refresh_api_key_hook(configuration)
        else:
            path = kubeconfig or os.environ.get("KUBECONFIG") or config.KUBE_CONFIG_DEFAULT_LOCATION
            _require_file(path)
            loader = await config.load_kube_config(
                path, context=context, client_configuration=configuration, persist_config=False
            )

            async def refresh() -> None:
                await loader.load_and_set(configuration)
    except config.ConfigException as error:
        raise ApiError(0, "Unreachable", f"kubeconfig {kubeconfig or '(default)'}: {error}") from error
    except (TypeError, ValueError, AttributeError, KeyError, YAMLError) as error:
        # Note: what the library says of a file that is no kubeconfig at all; its text may quote a credential.
        what = f"not a usable kubeconfig ({type(error).__name__})"
        raise ApiError(0, "Unreachable", f"kubeconfig {kubeconfig or '(default)'}: {what}") from None
    try:
        return AiohttpClient(configuration, refresh, env.clock)
    except OSError as error:
        what = f"its certificates cannot be loaded ({error.strerror or type(error).__name__})"
        raise ApiError(0, "Unreachable", f"kubeconfig {kubeconfig or '(default)'}: {what}") from error


def _require_file(path: str) -> None:
    if not any(Path(part).expanduser().is_file() for part in path.split(os.pathsep)):
        raise ApiError(0, "Unreachable", f"kubeconfig {path}: no such file")
