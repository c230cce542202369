"""Forecasts of a model for real data, what they are compared with, and how their errors are told."""
