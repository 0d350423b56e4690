"""Stats in, wanted pods out. Beside the path, never on it."""
