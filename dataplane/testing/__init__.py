"""Doubles that fail on misuse: virtual time, cut transports, stub pods."""
