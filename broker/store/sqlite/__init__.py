"""Events of one machine in SQLite: one file per broker, readable with any SQLite tool."""
