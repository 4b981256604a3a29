"""Formats of files with weights, read so that a file can claim what it likes: nothing of it is run or believed."""
