"""Import of ledgers from CSV files."""
