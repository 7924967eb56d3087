"""The report catalog, and how a report becomes a CSV file."""
