"""A completed report as a statement: titled, with sections and totals, in pages, each figure leading to its entries."""
