"""Names of what an environment shows of its state."""
