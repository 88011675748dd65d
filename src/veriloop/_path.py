"""The import path of `python -m veriloop.NAME`: without the folder in which the user stands.

Python puts that folder first for every `-m`. So a `yaml.py` in a run folder from a stranger would
run. `veriloop` itself must therefore be installed, or stand in PYTHONPATH.
"""

import os
import sys


def leave_out_current_folder() -> None:
    """Take the current folder off the import path, where Python runs a command of this package.

    >>> before = list(sys.path)
    >>> leave_out_current_folder()
    >>> sys.path == before
    True
    """
    started = sys.argv[:1] == ["-m"]  # so it is until Python has found the module
    if not started or sys.flags.safe_path:
        return
    module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
    if module.startswith("veriloop.") and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
