"""Outputs of two systems for four lines, and what is right."""

from __future__ import annotations

BASE = [
    "the cat sat on the mat",
    "a dog ran through <the> park & back",
    "no idea",
    "one two three four five six",
]
NEW = [
    "the cat sat on the mat",
    "a dog runs in <the> park & out",
    "good idea at last",
    "one two three four five",
]
RIGHT = [
    "the cat sat on the mat",
    "a dog ran through <the> park & out",
    "a good idea at last",
    "one two three",
]
