"""BERT and GPT-2 of transformers: tiny random models say the same here, alone and as the halves of a Transformer."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import imported, log_probabilities, same_rows, write_model
from half_folders import BERT, GPT2, write_byte_level, write_word_pieces
from safetensors.torch import load_file, save_file
from torch import Tensor
from toys import TRANSFORMER, Trainer, write_lines

from s2scli.checkpoint import load_checkpoint
from s2scli.components import FOREIGN_FAMILIES
from s2scli.configs.importing import ImportConfig
from s2scli.configs.preprocess import PreprocessConfig
from s2scli.configs.search import SearchConfig
from s2scli.data.batch import pad_sequences
from s2scli.data.dataset import Dataset
from s2scli.errors import CheckpointError, UsageError
from s2scli.foreign.source import ForeignSource
from s2scli.foreign.weights import to_theirs
from s2scli.importing import import_model
from s2scli.models.base import Model
from s2scli.preprocess import preprocess
from s2scli.schema import build
from s2scli.search.decoding import search
from s2scli.text.tokenizer import Tokenizer
from s2scli.training.building import make_run
from s2scli.training.distributed import Processes
from s2scli.training.signals import StopSignals

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers", reason="the extra interop is not installed")
pytest.importorskip("tokenizers", reason="the extra tokenizers is not installed")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

TEXT = "The man, the reader. Übung über 10"


def bert(folder: Path, *, kind: str = "BertModel", **settings: Any) -> Any:
    """A folder with a random BERT; returns the model of transformers."""
    torch.manual_seed(11)
    model = getattr(transformers, kind)(transformers.BertConfig(**BERT | settings))
    write_model(folder, model, {})
    write_word_pieces(folder)
    return model


def gpt2(folder: Path, **settings: Any) -> Any:
    """A folder with a random GPT-2; returns the model of transformers."""
    torch.manual_seed(12)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2 | settings))
    write_model(folder, model, {})
    write_byte_level(folder)
    return model


def their_scores(model: Any, ids: list[int]) -> Tensor:
    """What a GPT-2 of transformers says after each of some ids, [T, V]."""
    with torch.no_grad():
        scores: Tensor = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return scores


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "tie_word_embeddings": False,
            "layer_norm_epsilon": 1e-2,
            "n_inner": None,
            "activation_function": "relu",
        },
    ],
    ids=["tied", "untied"],
)
def test_a_gpt2_says_the_same(tmp_path: Path, settings: dict[str, Any]) -> None:
    theirs = gpt2(tmp_path / "gpt2", **settings)
    ours, tokenizers = imported(tmp_path / "gpt2", tmp_path / "ours")
    order = same_rows(ours.embeddings["target"].weight, theirs.transformer.wte.weight)
    ids = tokenizers["target"].encode(TEXT)
    their_ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "gpt2")(TEXT)["input_ids"]
    assert [order[number] for number in ids] == their_ids
    assert tokenizers["target"].decode(ids) == TEXT
    scores = their_scores(theirs, [GPT2["eos_token_id"], *their_ids])[:, order]
    torch.testing.assert_close(log_probabilities(ours, [], ids), scores, atol=1e-5, rtol=0)
    greedy = build(SearchConfig, {"beam": 1, "max_len_b": 20})
    ((output,),) = search(ours, pad_sequences([[]], symbols=ours.source_symbols), greedy)
    begin = torch.tensor([[GPT2["eos_token_id"]]])
    expected = theirs.generate(
        begin, max_new_tokens=20, do_sample=False, attention_mask=torch.ones_like(begin)
    )
    assert [order[number] for number in output.ids][:20] == expected[0, 1:].tolist()


def test_a_gpt2_is_written_as_it_was_read(tmp_path: Path) -> None:
    gpt2(tmp_path / "gpt2")
    source = ForeignSource(tmp_path / "gpt2")
    found = FOREIGN_FAMILIES["gpt2"].read(source, ImportConfig(source=source.path, save_dir=tmp_path))
    path = import_model(ImportConfig(source=source.path, save_dir=tmp_path / "ours")).checkpoint
    written = to_theirs(found.table, load_checkpoint(path).weights)
    assert written.keys() == found.weights.keys()
    for name, tensor in written.items():
        assert torch.equal(tensor, found.weights[name]), name


def older_names(path: Path) -> None:
    """Norms as files from before 2019 call their weights, and what only the training of BERT had."""
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): item
        for name, item in load_file(path).items()
    }
    save_file(renamed, path)


def dataset(folder: Path, **settings: Any) -> Path:
    """A dataset of some lines, prepared with vocabularies that there are."""
    write_lines(folder / "text.en", [TEXT, "the man", "a reader reads"] * 3)
    write_lines(folder / "text.de", ["der Mann", TEXT, "er liest"] * 3)
    values = {"source_lang": "en", "target_lang": "de", "trainpref": (str(folder / "text"),)}
    return preprocess(build(PreprocessConfig, {**values, "destdir": folder / "data", **settings})).destdir


def begun(trainer: Trainer, **settings: Any) -> Model:
    """The model of a run before its first update."""
    run = make_run(trainer.config("begun", **settings), Processes(torch.device("cpu")), StopSignals())
    run.data.loader.close()
    run.observers.close()
    return run.learner.model.eval()


def flags(raised: Callable[[], Any]) -> dict[str, Any]:
    """The settings that a message lists."""
    with pytest.raises(UsageError) as error:
        raised()
    values: dict[str, Any] = {}
    for word in str(error.value).partition("; give ")[2].split():
        if word.startswith("--"):
            name = f"model.{word.removeprefix('--no-').removeprefix('--').replace('-', '_')}"
            values[name] = not word.startswith("--no-")
        else:
            values[name] = word
    return values


def states(model: Model, ids: list[int]) -> Tensor:
    """The last states [S, D] of an encoder for ids with all that it reads."""
    with torch.no_grad():
        memory = model.encode(pad_sequences([ids[:-1]], symbols=model.source_symbols))
        return model.encoder_states(memory)[0, : len(ids)]


def as_bert_has_it(tokenizer: Tokenizer, folder: Path, order: list[int]) -> list[int]:
    """Our ids of the text with the end, after it was checked that theirs are the same."""
    ids = [*tokenizer.encode(TEXT), tokenizer.special.end]
    theirs = transformers.AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    assert [order[number] for number in ids] == theirs
    return ids


@pytest.mark.parametrize(
    ("kind", "settings", "is_older"),
    [
        ("BertModel", {}, True),
        ("BertForMaskedLM", {"layer_norm_eps": 1e-2, "hidden_act": "gelu_new", "type_vocab_size": 3}, False),
    ],
)
def test_an_encoder_that_begins_with_a_bert_says_the_same(
    tmp_path: Path, kind: str, settings: dict[str, Any], is_older: bool
) -> None:
    theirs = bert(tmp_path / "bert", kind=kind, **settings)
    if is_older:
        older_names(tmp_path / "bert/model.safetensors")
    made = import_model(ImportConfig(source=tmp_path / "bert", save_dir=tmp_path / "ours"))
    trainer = Trainer(dataset(tmp_path, vocab_from=tmp_path / "ours"), tmp_path)
    config = dict(load_checkpoint(made.checkpoint).config)["model"]
    like = TRANSFORMER | {f"model.{name}": value for name, value in config.items() if name != "name"}
    ours = begun(trainer, **like, init_encoder=tmp_path / "ours", init_decoder=tmp_path / "bert")
    encoder = getattr(theirs, "bert", theirs)
    table = encoder.embeddings.word_embeddings.weight
    order = same_rows(ours.embeddings["source"].weight, table)
    ids = as_bert_has_it(Dataset.open(trainer.data).tokenizer("source"), tmp_path / "bert", order)
    with torch.no_grad():
        expected = encoder(torch.tensor([[order[number] for number in ids]])).last_hidden_state[0]
    torch.testing.assert_close(states(ours, ids), expected, atol=1e-5, rtol=0)
    for name, tensor in load_checkpoint(made.checkpoint).weights.items():
        own = ours.state_dict()
        assert torch.equal(own[name], tensor)
        assert torch.equal(own[name.replace("encoder_", "decoder_", 1)], tensor)


def test_a_run_begins_with_a_bert_and_a_gpt2_and_trains(tmp_path: Path) -> None:
    encoder, decoder = bert(tmp_path / "bert"), gpt2(tmp_path / "gpt2")
    for name in ("bert", "gpt2"):
        import_model(ImportConfig(source=tmp_path / name, save_dir=tmp_path / f"from-{name}"))
    vocabularies = {
        "source_vocab_from": tmp_path / "from-bert",
        "target_vocab_from": tmp_path / "from-gpt2",
    }
    trainer = Trainer(dataset(tmp_path, **vocabularies), tmp_path)
    halves = {"init_encoder": tmp_path / "from-bert", "init_decoder": tmp_path / "gpt2"}
    settings = TRANSFORMER | flags(lambda: begun(trainer, **TRANSFORMER, **halves)) | halves
    model = begun(trainer, **settings)
    sources, targets = (Dataset.open(trainer.data).tokenizer(side) for side in ("source", "target"))
    order = same_rows(model.embeddings["source"].weight, encoder.embeddings.word_embeddings.weight)
    ids = as_bert_has_it(sources, tmp_path / "bert", order)
    with torch.no_grad():
        expected = encoder(torch.tensor([[order[number] for number in ids]])).last_hidden_state[0]
        torch.testing.assert_close(states(model, ids), expected, atol=1e-5, rtol=0)
        # Without what attention over the encoder adds, the decoder is the language model.
        for layer in model.decoder_layers:
            layer.cross_attention.out.weight.zero_()
            layer.cross_attention.out.bias.zero_()
    order = same_rows(model.embeddings["target"].weight, decoder.transformer.wte.weight)
    target = targets.encode(TEXT)
    scores = their_scores(decoder, [GPT2["eos_token_id"], *(order[number] for number in target)])[:, order]
    torch.testing.assert_close(log_probabilities(model, ids[:-1], target), scores, atol=1e-5, rtol=0)
    trainer("run", **settings, max_update=2)
    for name in ("bert", "gpt2", "from-bert", "from-gpt2"):
        shutil.rmtree(tmp_path / name)
    assert trainer("run", **settings, max_update=3).updates == 3


def test_tensors_and_vocabularies_that_do_not_fit_are_named(tmp_path: Path) -> None:
    def refused(source: Path) -> str:
        with pytest.raises(CheckpointError) as raised:
            import_model(ImportConfig(source=source, save_dir=tmp_path / "refused"))
        assert not (tmp_path / "refused").exists()
        return str(raised.value)

    gpt2(tmp_path / "gpt2")
    path = tmp_path / "gpt2/model.safetensors"
    weights = load_file(path)
    save_file({name: item for name, item in weights.items() if not name.endswith("h.1.ln_2.bias")}, path)
    assert "has no h.1.ln_2.bias, which its settings want" in refused(tmp_path / "gpt2")
    name = "transformer.h.0.attn.c_attn.weight"
    save_file(weights | {name: weights[name].T.contiguous()}, path)
    assert "h.0.attn.c_attn.weight has shape (72, 24); its settings and tokenizers want (24, 72)" in refused(
        tmp_path / "gpt2"
    )
    ids = json.loads((tmp_path / "gpt2/vocab.json").read_text())
    number = ids.pop("À")
    (tmp_path / "gpt2/vocab.json").write_text(json.dumps(ids | {"other": number}))
    save_file(weights, path)
    assert "has no symbol of the byte 0xc0" in refused(tmp_path / "gpt2")
    bert(tmp_path / "bert")
    (tmp_path / "bert/vocab.txt").write_text("[PAD]\n[UNK]\n[SEP]\nthe\n")
    assert "vocab.txt: has no [CLS]" in refused(tmp_path / "bert")
