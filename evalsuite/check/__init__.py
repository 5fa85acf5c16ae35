"""What is wrong with an evaluation before anything is asked: in its task files, its rows and its images."""

from evalsuite.check.code import check_code
from evalsuite.check.findings import LEVELS, Finding, Level
from evalsuite.check.images import check_images
from evalsuite.check.rows import check_rows
from evalsuite.check.settings import check_settings
from evalsuite.check.trial import CheckReport, Prompt, Trial, trial_findings, trial_of

__all__ = [
    "LEVELS",
    "CheckReport",
    "Finding",
    "Level",
    "Prompt",
    "Trial",
    "check_code",
    "check_images",
    "check_rows",
    "check_settings",
    "trial_findings",
    "trial_of",
]
