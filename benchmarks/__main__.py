"""Run benchmarks, each in a process of its own: ``make bench`` runs all of them.

python -m benchmarks [NAME [OPTIONS]]      e.g. duplicates --size 10000000
"""

import subprocess
import sys
from pathlib import Path

names = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
chosen, options = ([sys.argv[1]], sys.argv[2:]) if len(sys.argv) > 1 else (names, [])
if not set(chosen) <= set(names):
    sys.exit(f"{chosen[0]}: no such benchmark; there are {', '.join(names)}")
failed = []
for name in chosen:
    print(f"\n== {name}", flush=True)
    if subprocess.run([sys.executable, "-m", f"benchmarks.bench_{name}", *options], check=False).returncode:
        failed.append(name)
if failed:
    sys.exit(f"failed: {', '.join(failed)}")
