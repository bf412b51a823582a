"""A real node: kubelet, containerd and kube-proxy on this machine, on a bridge of their own. See docs/testing.md."""
