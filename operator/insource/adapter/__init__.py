"""The adapter: in every in-house pod and in front of every vendor. OpenAI's dialect in, any dialect out.

It measures what each attempt consumed, keeps it in a write-ahead log, sheds, drains and warms up.
It knows no Kubernetes.
"""
