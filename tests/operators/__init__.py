"""The operator as a process, on the embedded API server and on a real one: what people, crashes, outages do to it."""
