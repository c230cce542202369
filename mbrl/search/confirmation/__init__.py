"""What a search's best configurations are worth on seeds that it never used."""
