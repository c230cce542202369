"""Actors, critics, and the learners that update them."""

from mbrl.policies.base import CriticTerm, Learner, Policy

__all__ = ["CriticTerm", "Learner", "Policy"]
