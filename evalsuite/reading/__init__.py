"""From a model's words to an answer; see ``evalsuite.reading.read``."""

from evalsuite.reading.others import may_read_differently, other_readers

__all__ = ["may_read_differently", "other_readers"]
