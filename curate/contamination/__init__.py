"""Rows of the training data that also occur in evaluation sets, and a report per benchmark."""

from curate.contamination.report import write_report
from curate.duplicates.contamination import CONTAMINATION, find_contamination

__all__ = ["CONTAMINATION", "find_contamination", "write_report"]
