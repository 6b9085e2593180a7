"""Leave room for what else runs on the machine."""

import os
import sys

_NICENESS = 10  # of 19: what others want goes first, and nothing starves
_BELOW_NORMAL = 0x4000  # BELOW_NORMAL_PRIORITY_CLASS, for SetPriorityClass


def lower_priority() -> None:
    """Have this process and all that it starts from here on give way to others."""
    if sys.platform == "win32":
        import ctypes

        ctypes.windll.kernel32.SetPriorityClass(ctypes.windll.kernel32.GetCurrentProcess(), _BELOW_NORMAL)
    else:
        os.nice(_NICENESS)
