"""Model-based reinforcement learning: any dynamics model with any planner."""

__version__ = "0.1.0"
