"""What the benchmarks of SAME decoding are made of: limits, curves, the peer, the cost, the picture."""
