"""Confirmation: a search's best configurations measured on seeds that it never used."""
