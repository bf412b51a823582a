"""Benches: each prints a table and writes `bench/out/<name>.json`. Nothing here is asserted in a test."""
