"""Ways to keep a stacked network within a Lipschitz budget; one way per file, the contract in `base.py`."""
