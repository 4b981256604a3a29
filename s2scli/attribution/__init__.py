"""What output tokens come from: the methods of `s2s explain`, over the vectors that encoder and decoder read."""
