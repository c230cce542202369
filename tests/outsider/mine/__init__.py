"""Parts that a user wrote, outside the package: what docs/extending.md shows."""
