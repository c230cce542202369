"""Rollouts of a model that a learner learns from: how they begin, act, are changed and end."""
