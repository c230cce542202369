"""`mbrl search …`: one command per module; `mbrl.cli` has their table."""
