"""The model report: its parts, its page, and the same drawn while a run goes on."""
