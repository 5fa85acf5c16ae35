"""Work that takes minutes, in a thread of the server: pages start it, look how far it is, and go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from winnow.errors import UserError

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is.

    Attributes:
        done, total: steps; ``total`` is 0 as long as it is not known.
        problem: why it stopped, '' otherwise.
    """

    done: int = 0
    total: int = 0
    running: bool = True
    problem: str = ""


_known: dict[Hashable, Progress] = {}
_guard = threading.Lock()


def progress_of(key: Hashable) -> Progress | None:
    """The work started under ``key``, also after its end; None if there was none."""
    return _known.get(key)


def start(key: Hashable, work: Callable[[Report], None]) -> None:
    """Run ``work`` in a thread unless work of that key is running; sessions that ask at once share it.

    Args:
        work: is given a function to tell (steps done, steps in all).
    """
    with _guard:
        known = _known.get(key)
        if known and known.running:
            return
        _known[key] = Progress()

    def report(done: int, total: int) -> None:
        _known[key] = Progress(done, total)

    def run() -> None:
        problem = "it ended without saying why; see the server's log"
        try:
            work(report)
            problem = ""
        except UserError as error:
            problem = str(error)
        finally:
            _known[key] = replace(_known[key], running=False, problem=problem)

    threading.Thread(target=run, name=f"background {key}", daemon=True).start()
