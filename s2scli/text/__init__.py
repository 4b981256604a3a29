"""Text to token ids and back: normalization, vocabularies and tokenizers.

A tokenizer is a subclass of `text.tokenizer.Tokenizer` and one line here.
"""

from s2scli.registry import Registry

TOKENIZERS = Registry(
    "tokenizer",
    {
        "sentencepiece": "s2scli.text.subword:SentencePieceTokenizer",
        "given sentencepiece": "s2scli.text.subword:GivenSentencePieceTokenizer",
        "moses": "s2scli.text.moses:MosesTokenizer",
        "word": "s2scli.text.word:WordTokenizer",
        "character": "s2scli.text.character:CharacterTokenizer",
    },
)
