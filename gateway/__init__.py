"""Hop 1: HTTP from outside → the right revision, by weight."""
