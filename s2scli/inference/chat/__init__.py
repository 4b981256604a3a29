"""A conversation with a model: its turns, and the commands that can be typed between them."""
