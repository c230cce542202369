"""Parsers of what each command takes, which import nothing that takes long, so that help and mistakes come at once.

A module has `parse(command, arguments)`, from the words after `mbrl` and what follows them to what the command's `run` is
given; `mbrl.cli` has the table.
"""
