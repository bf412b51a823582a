"""Views to Envoy's configuration: pure functions, no I/O, no clock.

What changes often is protobuf built directly (clusters, endpoints, routes, scopes, keys); what is written once
per start (bootstrap, listeners) is plain data that becomes JSON, so that it may use fields newer than xds-protos.
"""
