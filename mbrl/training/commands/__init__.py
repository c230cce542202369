"""What each `mbrl` command does; `mbrl.cli` chooses among them."""
