"""What is wrong with an evaluation before anything is asked: in its task files, its rows and its images."""

from evalsuite.check.findings import Finding, Level
from evalsuite.check.images import check_images
from evalsuite.check.rows import check_rows
from evalsuite.check.settings import check_settings

__all__ = ["Finding", "Level", "check_images", "check_rows", "check_settings"]
