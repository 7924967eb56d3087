"""The parts of `python -m benchmarks`, each a section of docs/performance.md, and what they start."""
