"""What `bench.gateway` puts around the processes it measures: a load generator and a backend in C, and starters.

Both C programs do 90,000 requests/s on one core here, so that neither is the bottleneck.
"""
