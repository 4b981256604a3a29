"""The dataset folder, and the batches that come out of it."""
