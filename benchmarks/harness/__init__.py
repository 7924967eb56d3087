"""What every part of the benchmark uses: figures, the page, services, databases, load."""
