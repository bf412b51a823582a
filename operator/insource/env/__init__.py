"""The only place that asks the system for time, ids and randomness.

Everything else receives an `Env`, so that a simulation can run the same code under virtual time
and repeat any run from a seed. Code outside this package that imports `time`, `uuid`, `random` or
`secrets` for these purposes is refused by ruff's banned-api.
"""

from insource.env.clock import Clock, SystemClock
from insource.env.environment import Env, system_env
from insource.env.ids import Ids, SeededIds, SystemIds

__all__ = ["Clock", "Env", "Ids", "SeededIds", "SystemClock", "SystemIds", "system_env"]
