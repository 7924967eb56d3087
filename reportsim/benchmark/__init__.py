"""The benchmark: both patterns under the same load, measured from both ends and compared with theory."""
