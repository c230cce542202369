"""What a dataset says of the task that it was recorded in."""
