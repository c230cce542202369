"""`mbrl search …`: one subcommand a module."""
