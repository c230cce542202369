"""How a policy is chosen among several, and what the choice costs in episodes of the real environment."""
