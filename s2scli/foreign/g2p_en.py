"""The model of the package g2p-en 2.1: pronunciations of English words.

An example of how little a reader is: recognize, settings, symbols, and a table of weights. The model is a GRU that
reads letters, and one that begins with its last state and writes phonemes. The symbols are in the package's code, and
so here.
"""

from __future__ import annotations

import string
from typing import Any

from s2scli.configs.importing import ImportConfig
from s2scli.errors import CheckpointError
from s2scli.foreign.base import ForeignFamily, ForeignModel
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import WeightRow, WeightTable
from s2scli.text.character import CharacterTokenizer
from s2scli.text.normalization import Normalization
from s2scli.text.vocabulary import SpecialSymbols, Vocabulary
from s2scli.text.word import WordTokenizer

# Those of ARPAbet as the CMU dictionary has them: vowels with their stress, none, first or second.
_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
_CONSONANTS = [
    "B",
    "CH",
    "D",
    "DH",
    "F",
    "G",
    "HH",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "P",
    "R",
    "S",
    "SH",
    "T",
    "TH",
    "V",
    "W",
    "Y",
    "Z",
    "ZH",
]
_PHONEMES = sorted([*(f"{vowel}{stress}" for vowel in _VOWELS for stress in "012"), "UW", *_CONSONANTS])
# <pad>, <unk> and </s> come before the letters, <pad>, <unk>, <s> and </s> before the phonemes.
_OF_LETTERS = SpecialSymbols(padding=0, unknown=1, start=2, end=2)
_OF_PHONEMES = SpecialSymbols(padding=0, unknown=1, start=2, end=3)

_TABLE: WeightTable = (
    WeightRow("source_embedding.weight", ("enc_emb",)),
    WeightRow("encoder.network.weight_ih_l0", ("enc_w_ih",)),
    WeightRow("encoder.network.weight_hh_l0", ("enc_w_hh",)),
    WeightRow("encoder.network.bias_ih_l0", ("enc_b_ih",)),
    WeightRow("encoder.network.bias_hh_l0", ("enc_b_hh",)),
    WeightRow("target_embedding.weight", ("dec_emb",)),
    WeightRow("decoder.network.weight_ih_l0", ("dec_w_ih",)),
    WeightRow("decoder.network.weight_hh_l0", ("dec_w_hh",)),
    WeightRow("decoder.network.bias_ih_l0", ("dec_b_ih",)),
    WeightRow("decoder.network.bias_hh_l0", ("dec_b_hh",)),
    WeightRow("output.weight", ("fc_w",)),
    WeightRow("output.bias", ("fc_b",)),
)


_MODEL: dict[str, Any] = {
    "cell": "gru",
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_embed_dim": 256,
    "decoder_embed_dim": 256,
    "encoder_hidden_size": 256,
    "decoder_hidden_size": 256,
    "encoder_bidirectional": False,
    "reverse_source": False,
    "bridge": "copy",
    "attention": "none",
    "fixed_context": "first",
    "readout": "none",
    "output_bias": True,
    "share_decoder_input_output_embed": False,
    "share_all_embeddings": False,
}


class G2pEn(ForeignFamily):
    """The model of g2p-en, checkpoint20.npz."""

    title = "g2p-en's GRU"

    @classmethod
    def recognizes(cls, source: ForeignSource) -> bool:
        """Whether it is an archive with such weights."""
        return {"enc_w_ih", "dec_w_ih", "fc_w"} <= source.arrays.keys()

    @classmethod
    def read(cls, source: ForeignSource, wanted: ImportConfig) -> ForeignModel:
        """Read the model."""
        path = source.ending_in(".npz")
        if path is None:
            raise CheckpointError(
                f"{source.path}: has no .npz; wanted: checkpoint20.npz of the package g2p-en"
            )
        letters = Vocabulary([*string.ascii_lowercase], [0] * 26, _OF_LETTERS)
        phonemes = Vocabulary(_PHONEMES, [0] * len(_PHONEMES), _OF_PHONEMES)
        return ForeignModel(
            path=path,
            arch="rnn_fixed_vector",
            model=_MODEL,
            tokenizers={
                "source": CharacterTokenizer(letters, Normalization(lowercase=True)),
                "target": WordTokenizer(phonemes, pieces="none"),
            },
            weights=source.arrays,
            table=_TABLE,
            source_lang=wanted.source_lang or "graphemes",
            target_lang=wanted.target_lang or "phonemes",
        )
