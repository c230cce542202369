"""Runs on the Hugging Face hub: what is uploaded or packed, and what is loaded from there."""

from mbrl.training.hub.pull import from_hub, pull
from mbrl.training.hub.push import pack, push_to_hub

__all__ = ["from_hub", "pack", "pull", "push_to_hub"]
