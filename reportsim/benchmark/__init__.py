"""The instrument: both patterns under one load, measured from both ends, beside what theory says."""
