"""The Redis crossing: all that both halves of the station agree on."""
