"""A run's log as figures: read, put together, and drawn as a picture or in the terminal."""
