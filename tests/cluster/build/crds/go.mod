module insource.dev/tests/cluster/build/crds

go 1.26.0

// Nothing of them is built: they bring the CRDs of others' kinds that the chart can render.
require (
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
)
