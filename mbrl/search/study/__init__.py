"""Studies: their storage, their trials from lease to outcome, and the configurations that they recommend."""
