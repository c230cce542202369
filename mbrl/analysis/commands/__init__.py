"""`mbrl report` and `mbrl plot`."""
