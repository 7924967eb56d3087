"""Queueing theory and simulation: what to expect of a load."""
