"""Antenna to ring to Redis."""
