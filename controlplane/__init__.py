"""Desired → actual → snapshots. Never on the path of a request."""
