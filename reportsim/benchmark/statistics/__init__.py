"""Estimates and their intervals, with blocks as the units of sampling."""
