"""Small CPU model servers in OpenAI's wire format, for tests and demos.

Production runtimes are container images named by InferenceRuntimes; these two exist so that the whole path can be run
on any machine: `whisper` recognises real speech, `stub` answers at once. Neither knows Kubernetes, the gateway or
prices.
"""
