"""The shared kernel: what two or more hops need and no hop owns."""
