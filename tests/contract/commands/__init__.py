"""What platform engineers type, as data: kubectl and helm commands, run by the real programs against both API servers.

`scenarios/*.yaml` are the commands, `files/` what they read, `golden/*.txt` what a real server was seen to answer.
`python -m tests.contract.commands.record [SCENARIO...]` asks a real one anew and rewrites the golden files.
"""
