"""Rows of the training data that also occur in evaluation sets, and a report per benchmark."""

from curate.contamination.find import CONTAMINATION, find_contamination
from curate.contamination.report import write_report

__all__ = ["CONTAMINATION", "find_contamination", "write_report"]
