"""Why a row has its fate: every rule in order, with values and thresholds, fired or not."""

from curate.explain.columns import columns_table
from curate.explain.show import show
from curate.rules.explain import Explanation, RuleOutcome, explain

__all__ = ["Explanation", "RuleOutcome", "columns_table", "explain", "show"]
