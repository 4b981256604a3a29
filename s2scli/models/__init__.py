"""The model families, by the `name` of their config."""

from s2scli.registry import Registry

MODELS = Registry(
    "model",
    {
        "recurrent": "s2scli.models.recurrent:RecurrentModel",
        "transformer": "s2scli.models.transformer:TransformerModel",
        "convolutional": "s2scli.models.convolutional:ConvolutionalModel",
        "transformer_lm": "s2scli.models.transformer_lm:TransformerLanguageModel",
    },
)
