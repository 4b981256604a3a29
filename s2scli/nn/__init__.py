"""Building blocks of the models.

Dimensions, wherever a comment names them: B batch, S source length, T target length, D model width,
H heads, V vocabulary, K beam. Masks are boolean and true where there is a token.
"""
