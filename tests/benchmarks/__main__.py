"""Run every benchmark, one after the other, each in a process of its own: ``make bench``."""

import subprocess
import sys
from pathlib import Path

failed = []
for path in sorted(Path(__file__).parent.glob("bench_*.py")):
    module = f"tests.benchmarks.{path.stem}"
    print(f"\n== {module}", flush=True)
    if subprocess.run([sys.executable, "-m", module], check=False).returncode:
        failed.append(module)
if failed:
    sys.exit(f"failed: {', '.join(failed)}")
