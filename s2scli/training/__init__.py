"""The training loop; each concern is a small file."""
