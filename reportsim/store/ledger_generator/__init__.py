"""The books of a made-up company, for ledgers of any number of lines: what happens, how much, and when."""
