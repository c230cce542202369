"""A study: where its trials lie, what is written into it, and what it recommends."""
