"""One pure reconcile function per kind, and the loop that executes what they decide."""
