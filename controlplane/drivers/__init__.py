"""What runs a pod: one contract, several drivers."""
