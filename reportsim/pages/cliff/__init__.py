"""The cliff on the home page: sync under a rising load, simulated, drawn as it happens, and measured."""
