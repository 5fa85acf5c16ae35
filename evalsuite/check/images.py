"""Whether a task's images are there and can be decoded."""

from __future__ import annotations

import random
from collections.abc import Iterable

from evalsuite.backends.images import find_image, load_image
from evalsuite.check.findings import Counted, Finding
from evalsuite.tasks.load import Task
from evalsuite.tasks.rows import TaskRow
from winnow.text import one_line

_DECODED = 64


def check_images(task: Task, seed: int = 0) -> list[Finding]:
    """Look for every file, and decode 64 of them drawn with ``seed``; a task that is asked blind needs none."""
    if task.spec.blind:
        return []
    root, name = str(task.image_root.resolve()), task.spec.name
    files: dict[str, str] = {}
    errors: dict[str, str] = {}
    for path in dict.fromkeys(path for row in task.rows for path in row.images):
        file, error = find_image(path, root)
        if file is not None:
            files[path] = file
        else:
            errors[path] = error or "cannot be read"
    drawn = random.Random(seed).sample(sorted(files), min(_DECODED, len(files)))
    broken = {path: error for path in drawn if (error := load_image(files[path])[1])}
    found = []
    if missing := _rows_with(task.rows, errors):
        whole = missing.rows == sum(bool(row.images) for row in task.rows)
        fix = "not asked, and scored 0; `source.image_root` in the task says where images lie"
        found.append(missing.finding("error" if whole else "warning", name, "an image is not there: {first}", fix))
    if bad := _rows_with(task.rows, broken):
        what = f"of {len(drawn):,} images that were decoded, {len(broken):,} cannot be: {{first}}"
        found.append(bad.finding("error" if len(broken) == len(drawn) else "warning", name, what, "replace the files"))
    return found


def _rows_with(rows: Iterable[TaskRow], errors: dict[str, str]) -> Counted | None:
    counted = Counted()
    for row in rows if errors else ():
        if error := next((errors[path] for path in row.images if path in errors), None):
            counted.add(row.sample_id, one_line(error))
    return counted if counted.rows else None
