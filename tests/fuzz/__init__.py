"""Functions that take any bytes and fail only if our code is wrong: for a fuzzer, and for a test of its corpus."""
