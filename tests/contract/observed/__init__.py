"""What a real API server answers, observation by observation: recorded from it, and asked of both.

`python -m tests.contract.observed.record` asks a real one anew and rewrites golden.jsonl.
"""
