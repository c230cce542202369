"""Memory of rows, which grows and shrinks in place."""
