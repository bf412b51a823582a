"""A real Kubernetes control plane for tests and benches: built once into the user's cache, started in seconds."""
