"""The address of the database as people copy it: parsing it, and what its parameters mean."""
