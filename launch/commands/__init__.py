"""One module per command; each holds `command`. Only click and the standard library are imported at the top."""
