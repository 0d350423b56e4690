"""What users declare, and the compiled snapshot that hops read."""
