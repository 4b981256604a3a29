"""Text to token ids and back: normalization, vocabularies and tokenizers, each a subclass of tokenizer.Tokenizer."""
