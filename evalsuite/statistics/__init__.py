"""Intervals, tests and rankings for scores of samples that share images."""

from evalsuite.statistics.excess import Excess, excess_errors
from evalsuite.statistics.multiple import benjamini_hochberg, holm
from evalsuite.statistics.ranking import Property, Ranking, Slice, property_of, rank_slices
from evalsuite.statistics.resampling import (
    LEVEL,
    REPLICATES,
    Estimate,
    Floats,
    Interval,
    Ints,
    cluster_codes,
    exact_when_unanimous,
    interval,
    intervals,
    mean_interval,
    mean_of_sums,
    mean_sums,
)
from evalsuite.statistics.tests import POWER, Difference, McNemar, mcnemar, paired_difference, smallest_detectable

__all__ = [
    "LEVEL",
    "POWER",
    "REPLICATES",
    "Difference",
    "Estimate",
    "Excess",
    "Floats",
    "Interval",
    "Ints",
    "McNemar",
    "Property",
    "Ranking",
    "Slice",
    "benjamini_hochberg",
    "cluster_codes",
    "exact_when_unanimous",
    "excess_errors",
    "holm",
    "interval",
    "intervals",
    "mcnemar",
    "mean_interval",
    "mean_of_sums",
    "mean_sums",
    "paired_difference",
    "property_of",
    "rank_slices",
    "smallest_detectable",
]
