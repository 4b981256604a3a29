"""What `s2s score` reads, finds and shows."""
