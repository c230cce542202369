"""What runs achieved: learning curves, aggregates, comparisons."""
