"""Runs on the Hugging Face hub: what is uploaded, and what is loaded from there."""

from mbrl.training.hub.pull import from_hub, pull
from mbrl.training.hub.push import push_to_hub

__all__ = ["from_hub", "pull", "push_to_hub"]
