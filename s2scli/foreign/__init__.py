"""Models of other toolkits: what their files hold, and their settings, tokenizers and weights as ours.

A family of models is one file: how it is recognized, its settings as those of one of our models, its tokenizers, and a
table of its weights' names beside ours, which reading and writing both use. The rows of components.FOREIGN_MODELS name
them; what a file format is and how it is read safely stands in `formats/`.
"""
