"""Runs in processes of their own: their start, their end, and several of them side by side."""
