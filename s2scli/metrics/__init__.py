"""The metrics, each a subclass of base.Metric."""
