"""The settings of every command and component, as frozen dataclasses."""
