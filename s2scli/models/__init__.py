"""The models: what all can do (base.py), and one file a family."""
