"""Small CPU model servers in OpenAI's wire format, for tests and demos.

Production runtimes are container images named by InferenceRuntimes; these exist so that the whole path can be run on
any machine: `whisper` recognises real speech, `piper` speaks, `llama` goes on with text, `embed` makes vectors of it,
`flow-image` draws shapes, `stub` answers at once. None knows Kubernetes, the gateway or prices.
"""
