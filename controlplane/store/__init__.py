"""Where resources are kept: one contract, several stores."""
