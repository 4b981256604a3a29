"""From lines of text to batches, search and lines of text: what every command that decodes uses."""
