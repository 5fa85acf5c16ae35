"""``python -m dashboards.jobs DATA LANE``: the worker, started by the server when a job waits."""

import signal
import sys
from pathlib import Path

from dashboards.jobs.worker import work

if __name__ == "__main__":
    # A server in the background of a script ignores Ctrl-C, and jobs would inherit that: they could not be stopped.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work(Path(sys.argv[1]), "check" if sys.argv[2] == "check" else "run")
