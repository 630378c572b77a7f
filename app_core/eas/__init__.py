"""PCM to SAME, one stage a file, in the order in which samples meet them."""
