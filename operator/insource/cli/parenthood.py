"""A child that must not outlive the process that started it (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel for SIGTERM when the parent ends, however it ends; leave at once if it is gone already.

    The setting survives exec, so it holds for Envoy too. Elsewhere than on Linux it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # Note: the parent may have died between fork and prctl; then no signal would ever come.
    if os.getppid() != parent_pid:
        sys.exit(1)
