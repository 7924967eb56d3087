"""Checks H1 to H14: whether a run can be trusted."""
