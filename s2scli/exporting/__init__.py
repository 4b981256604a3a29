"""Writing models in other toolkits' formats, one file each; `s2s export` calls them by components.py's table."""
