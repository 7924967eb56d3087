"""The page on which one types in the numbers of an endpoint of one's own."""
