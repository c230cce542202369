"""Commands of `mbrl`; `mbrl.cli` chooses among them."""
