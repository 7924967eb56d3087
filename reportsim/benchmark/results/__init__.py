"""From recorded samples to estimates, comparisons and exports."""
