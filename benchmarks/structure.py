"""How the code is laid out: files, lines, siblings per folder, imports that run back up, and circles.

    python -m benchmarks.structure [FOLDER]      another checkout's folder, to compare

A circle is a set of sibling modules that import each other, directly or through others. An import runs back up if a
package imports a module beside or above it that imports that package too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grimp

PACKAGES = ("winnow", "curate", "finetune", "evalsuite", "serving", "dashboards", "studies", "proof", "data")


def siblings(files: list[Path]) -> Counter[Path]:
    """Folder → modules and packages directly in it."""
    entries = {(path.parent, path.name) for path in files if path.name != "__init__.py"}
    entries |= {(path.parent.parent, path.parent.name) for path in files if path.name == "__init__.py"}
    return Counter(folder for folder, _ in entries)


def packages_of(graph: grimp.ImportGraph, top: str) -> Iterator[str]:
    """``top`` and all packages below it."""
    yield top
    for module in sorted(graph.find_descendants(top)):
        if graph.find_children(module):
            yield module


def sibling_imports(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """Child of a package → its siblings that it imports, anywhere within."""
    children = graph.find_children(package)
    return {
        child: {
            other
            for other in children - {child}
            if graph.direct_import_exists(importer=child, imported=other, as_packages=True)
        }
        for child in sorted(children)
    }


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module."""
    reachable = {module: _reachable(module, imports) for module in imports}
    found = {
        tuple(sorted({module} | {other for other in reachable[module] if module in reachable[other]}))
        for module in imports
    }
    return [list(circle) for circle in sorted(found) if len(circle) > 1]


def _reachable(start: str, imports: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for other in imports[waiting.pop()] - seen:
            seen.add(other)
            waiting.append(other)
    return seen


def imports_back_up(graph: grimp.ImportGraph, top: str) -> list[tuple[str, str]]:
    """(importer, imported) where a package imports a module outside it that imports the package."""
    found = set()
    for package in list(packages_of(graph, top))[1:]:
        inside = {package, *graph.find_descendants(package)}
        for importer in inside:
            for imported in graph.find_modules_directly_imported_by(importer):
                within = imported.startswith(f"{top}.") and imported not in inside
                if (
                    within
                    and not graph.find_children(imported)
                    and any(other in inside for other in graph.find_modules_directly_imported_by(imported))
                ):
                    found.add((importer, imported))
    return sorted(found)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path())
    os.chdir(parser.parse_args().folder)
    sys.path.insert(0, str(Path.cwd()))
    tracked = subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, check=True).stdout.split()
    total: Counter[str] = Counter()
    for top in PACKAGES:
        files = [Path(name) for name in tracked if name.startswith(f"{top}/")]
        if not files:
            continue
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
        widest = siblings(files).most_common(1)[0]
        graph = grimp.build_graph(top, cache_dir=None)
        found = [circle for package in packages_of(graph, top) for circle in circles(sibling_imports(graph, package))]
        back = imports_back_up(graph, top)
        print(f"{top}: {len(files)} files, {lines:,} lines, {widest[1]} siblings in {widest[0]}, "
              f"{len(back)} imports back up, {len(found)} circles")  # fmt: skip
        for importer, imported in back:
            print(f"    {importer} → {imported}")
        for circle in found:
            print(f"    circle: {', '.join(circle)}")
        total.update(files=len(files), lines=lines, back=len(back), circles=len(found))
    print(f"all: {total['files']} files, {total['lines']:,} lines, {total['back']} imports back up, "
          f"{total['circles']} circles")  # fmt: skip


if __name__ == "__main__":
    main()
