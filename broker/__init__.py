"""Event → [1 ingress → 2 store → 3 dispatcher → 4 trigger → 5 deliver] → subscriber."""
