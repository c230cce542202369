"""The search file: what is searched, on what command, within which limits."""
