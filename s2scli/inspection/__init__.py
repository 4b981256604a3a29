"""What a dataset folder or a checkpoint holds: counted, and laid out as text."""
