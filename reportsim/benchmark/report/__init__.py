"""The exported HTML report."""
