"""Building blocks of the models.

Dimensions, wherever a docstring or a trailing comment names them:

    B  batch: the sentences, a row each
    S  source length
    T  target length
    D  model width; D/H is that of one attention head, unless a config gives it another
    H  attention heads
    G  heads of keys and values, H unless several heads of queries share each
    V  target vocabulary
    E  own words: those of a source that the vocabulary does not have, which copying adds to it
    K  beam: the hypotheses of a sentence; B·K is one dimension, the hypotheses of each sentence one after the other
    F  features of a frame, where a source is frames instead of tokens
    Q  queries: the positions that attend
    N  layers

A comment such as `# [B, T, D]` gives the shape of what its line assigns. "any" is a dimension of any size, "..." are
any dimensions in front. Masks are boolean and true where there is a token; a bias is what is added to attention scores,
0 where a query attends and -inf where it does not. Lengths count tokens, the end symbol among them.
"""
