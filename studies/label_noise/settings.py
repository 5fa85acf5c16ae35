"""What was chosen before the report's pictures were looked at."""

from __future__ import annotations

# Chosen on the tuning pictures. Winnow assumes that 5% of the answers are wrong before it looks: above it, what it sees
# speaks against an answer.
RULES = {"wrong": {"when": "suspect > 0.05", "action": "drop"}}
LEVEL_OF_SELECTION = "aggregate"  # of the labels in the mixture of studies.selection
