"""From recordings, and from files of features, to frames: vectors of numbers at even distances in time."""
