"""A judge: another model that scores the replies of a task by a rubric."""
