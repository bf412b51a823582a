"""What each program of the node is told in a file. Pure: text from places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.node.places import PAUSE, Places

CLASS = "node-folder"
PROVISIONER = "insource.dev/node-folder"


def containerd(places: Places, cni_programs: Path) -> str:
    """Its own socket, root and state: another containerd on the machine is not disturbed."""
    return f"""\
version = 2
root = "{places.containerd_root}"
state = "{places.run}/containerd"
[grpc]
  address = "{places.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{places.run}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  # A machine that is itself a container may not lower the score.
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_programs}"
    conf_dir = "{places.run}/cni"
"""


def pod_network(places: Places) -> str:
    """Pods get a route to services and to other nodes, and none to anywhere else: nothing leaves the machine."""
    addresses = {
        "type": "host-local",
        "dataDir": f"{places.run}/cni-addresses",
        "ranges": [[{"subnet": places.pods, "gateway": places.gateway}]],
        "routes": [{"dst": places.services}, {"dst": places.cluster}],
    }
    bridge = {"type": "bridge", "bridge": places.bridge, "isGateway": True, "ipMasq": False, "hairpinMode": True}
    return json.dumps(
        {"cniVersion": "0.4.0", "name": places.name, "plugins": [{**bridge, "ipam": addresses}]}, indent=1
    )


def kubelet(places: Places) -> str:
    authentication = {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True},
        "x509": {"clientCAFile": f"{places.run}/pki/ca.pem"},
    }
    return _document(
        "kubelet.config.k8s.io/v1beta1",
        "KubeletConfiguration",
        address=places.address,
        port=places.kubelet_port,
        healthzPort=places.kubelet_health_port,
        readOnlyPort=0,
        failCgroupV1=False,
        failSwapOn=False,
        cgroupDriver="cgroupfs",
        cgroupRoot=f"/{places.cgroup}",
        enforceNodeAllocatable=[],
        makeIPTablesUtilChains=False,
        authentication=authentication,
        authorization={"mode": "Webhook"},
        tlsCertFile=f"{places.run}/pki/kubelet.pem",
        tlsPrivateKeyFile=f"{places.run}/pki/kubelet.key",
        containerRuntimeEndpoint=f"unix://{places.containerd_socket}",
        # The machine is the tester's: a nearly full disk of theirs is no reason to evict.
        evictionHard={"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
        imageGCHighThresholdPercent=100,
        imageGCLowThresholdPercent=99,
        clusterDomain="cluster.local",
        clusterDNS=[places.dns_service],
        resolvConf="",
        podLogsDir=f"{places.run}/pod-logs",
        registerNode=True,
    )


def kube_proxy(places: Places) -> str:
    return _document(
        "kubeproxy.config.k8s.io/v1alpha1",
        "KubeProxyConfiguration",
        mode="nftables",
        clientConnection={"kubeconfig": f"{places.run}/proxy.kubeconfig"},
        hostnameOverride=places.name,
        clusterCIDR=places.cluster,
        nodePortAddresses=[f"{places.address}/32"],
        healthzBindAddress=f"127.0.0.1:{places.proxy_health_port}",
        metricsBindAddress=f"127.0.0.1:{places.proxy_metrics_port}",
        # The machine's own limits stay as they are.
        conntrack={"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    )


def corefile(places: Places) -> str:
    """Two blocks: in one, `template` would answer before `kubernetes`, and no name would exist."""
    return f"""\
cluster.local:53 {{
  bind {places.gateway}
  errors
  ready 127.0.0.1:{places.dns_ready_port}
  kubernetes cluster.local {{
    kubeconfig {places.run}/dns.kubeconfig node
    ttl 5
  }}
  cache 5
}}
.:53 {{
  bind {places.gateway}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


def kubeconfig(places: Places, token: str) -> str:
    cluster = {"server": places.url, "certificate-authority": f"{places.run}/pki/ca.pem"}
    return _document(
        "v1",
        "Config",
        clusters=[{"name": "node", "cluster": cluster}],
        users=[{"name": "user", "user": {"token": token}}],
        contexts=[{"name": "node", "context": {"cluster": "node", "user": "user"}}],
        **{"current-context": "node"},
    )


def base_objects(places: Places) -> list[dict[str, Any]]:
    """DNS as pods know it, the class that makes a folder of this machine for each claim, and what programs may read."""
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": places.dns_service, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-host",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [places.gateway]}],
        },
        *_reader("dns"),
        *_reader("policies", "nodes", "networkpolicies"),
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS, "annotations": default},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
        },
    ]


def _reader(user: str, *more: str) -> list[dict[str, Any]]:
    """It may read Services, what is behind them, and `more`."""
    group = "rbac.authorization.k8s.io"
    resources = ["services", "pods", "namespaces", "endpoints", "endpointslices", *more]
    rule = {"apiGroups": ["", "discovery.k8s.io", "networking.k8s.io"], "resources": resources}
    version, name = f"{group}/v1", f"node-{user}"
    return [
        {
            "apiVersion": version,
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [{**rule, "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": version,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "User", "name": user, "apiGroup": group}],
        },
    ]


def _document(version: str, kind: str, **fields: Any) -> str:
    return yaml.safe_dump({"apiVersion": version, "kind": kind, **fields}, sort_keys=False)
