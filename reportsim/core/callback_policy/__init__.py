"""Which callback URLs and addresses are allowed."""
