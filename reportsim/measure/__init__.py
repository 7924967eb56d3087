"""Measures services that are not reportsim's own, as a target file describes them."""
