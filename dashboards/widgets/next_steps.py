"""What to run after a review: the commands that carry decisions into the data, the model and the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from dashboards.corrections.history import Decision

_STEPS = (
    (
        "Change the data: `curate` says of every decision whether it was applied, stale or in conflict.",
        "curate run RECIPE",
        "curate run curate/recipes/demo.yaml",
    ),
    (
        "Train on it: the old run was made from other data and is refused. `--fresh` replaces it;"
        " with another `name:` both stay, and Compare shows them.",
        "finetune train RECIPE --fresh",
        "finetune train finetune/recipes/demo.yaml --fresh",
    ),
    (
        "Score it: the score and the corrected score stand side by side on the overview.",
        "evalsuite run RECIPE",
        "evalsuite run evalsuite/recipes/demo_tuned.yaml",
    ),
)


def waiting(decisions: Sequence[Decision], fates: Mapping[str, str]) -> int:
    """How many decisions that count no curation has seen yet."""
    counting = [decision for decision in decisions if decision.state == "active"]
    return sum(decision.line.correction_id not in fates for decision in counting)


def next_steps(decisions: Sequence[Decision], fates: Mapping[str, str]) -> None:
    """The three commands in their order; recipes name the folder with ``corrections: data/corrections``."""
    st.subheader("What to run next")
    left = waiting(decisions, fates)
    if left:
        st.caption(f"{left:,} {'decision waits' if left == 1 else 'decisions wait'} for the next curation.")
    else:
        st.caption("The last curation has seen every decision that counts.")
    with st.grid(3, gap="small"):
        for number, (why, command, demo) in enumerate(_STEPS, start=1):
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.markdown(f"**{number}.** {why}")
                st.code(f"{command}\n# the demo\n{demo}", language="bash", wrap_lines=True)
    st.caption("Recipes take the decisions in with `corrections: data/corrections`; the demo's do.")
