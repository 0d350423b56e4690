"""Decisions as arithmetic: state and now in, verdict out."""
