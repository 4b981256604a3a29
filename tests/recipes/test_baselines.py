"""Answers that no model gives, by hand."""

import gzip
from pathlib import Path

import pytest
from recipe_scripts import calls, copy_recipes, load, make, needs_make

letters = load("g2p/letters.py")
endings = load("inflection/endings.py")
overlap = load("qa/overlap.py")
halves = load("srl/halves.py")
lead = load("summarization/lead.py")


def test_a_letter_is_the_phoneme_that_it_most_often_is() -> None:
    """Words with another number of phonemes than letters do not count; x and q are in no other."""
    pairs = [
        ("c a t", "K AE1 T"),
        ("c i t", "S IH1 T"),
        ("c o", "K OW1"),
        ("a x", "AE1 K S"),
        ("q u a", "K W"),
    ]
    assert letters.answers(pairs, ["t a c", "x q", "o"]) == {"letters": ["T AE1 K", "", "OW1"]}


def test_an_ending_changes_as_it_does_in_the_words_most_alike() -> None:
    pairs = [
        ("m a c h e n <3>", "m a c h t"),
        ("l a c h e n <3>", "l a c h t"),
        ("r e d e n <3>", "r e d e t"),
        ("s e i n <3>", "i s t"),
        ("m a c h e n <1>", "m a c h e"),
    ]
    asked = [
        "k o c h e n <3>",
        "b a d e n <3>",
        "k o c h e n <1>",
        "s e i n <3>",
        "a b <3>",
        "k o c h e n <2>",
    ]
    found = endings.answers(pairs, asked)
    assert found["lemma"] == [" ".join(source.split()[:-1]) for source in asked]
    # Of two words in chen both put t for en; reden puts t for n; what is known of ab is its tag alone, and nothing ends
    # so, so that it stays; of <2> nothing is known.
    expected = ["k o c h t", "b a d e t", "k o c h e", "i s t", "a b", "k o c h e n"]
    assert found["ending"] == expected


def test_the_rest_of_a_sentence_is_what_the_question_does_not_say() -> None:
    found = overlap.answers(
        [],
        [
            "Who wrote The Storm? <sep> In 1610, William Shakespeare wrote the storm of storms.",
            "どこ生まれ? <sep> 大阪府で生まれた。",
            "no sentence",
            "Same? <sep> same",
        ],
    )
    assert found["rest"] == ["In 1610, William Shakespeare", "大阪府で", "", "same"]
    assert found["sentence"][1] == "大阪府で生まれた。"


def test_each_half_of_a_sentence_is_an_argument() -> None:
    pairs = [
        ("", "[ARG1 It ] was [V sold ] [ARGM-TMP then ]"),
        ("", "[ARG1 Cakes ] [V sell ] [ARG2 well ] [ARG2 here ] ."),
    ]
    sources = ["The man <v> saw </v> a dog ! !", "<v> Go </v> .", "nothing here"]
    expected = ["[ARG1 The man ] [V saw ] [ARG2 a dog ] ! !", "[V Go ] .", "[ARG1 nothing here ]"]
    assert halves.answers(pairs, sources) == {"halves": expected}
    assert halves.answers([], ["I <v> go </v>"]) == {"halves": ["[ARG0 I ] [V go ]"]}


def test_leads_of_plain_and_packed_files(tmp_path: Path) -> None:
    text = "Mr. One went. Two came!  Three? no\n\nOnly one\n"
    (tmp_path / "text").write_text(text, encoding="utf-8")
    with gzip.open(tmp_path / "text.gz", "wt", encoding="utf-8") as stream:
        stream.write(text)
    for name in ("text", "text.gz"):
        source, out = str(tmp_path / name), tmp_path / f"{name}.out"
        assert lead.main(["--train", source, source, "--source", source, "--out", str(out)]) == 0
        assert (out / "lead-3.txt").read_text() == "Mr. One went. Two came!\n\nOnly one\n"
        assert (out / "lead-1.txt").read_text() == "Mr.\n\nOnly one\n"


@needs_make
@pytest.mark.parametrize(
    ("recipe", "source", "names"),
    [
        ("g2p", "test.graphemes", ["letters"]),
        ("inflection", "test.src", ["lemma", "ending"]),
        ("qa", "test.src", ["sentence", "rest"]),
        ("srl", "test.src", ["halves"]),
        ("summarization", "test.source", ["lead-1", "lead-3"]),
    ],
)
def test_they_are_scored_beside_the_model(recipe: str, source: str, names: list[str], tmp_path: Path) -> None:
    copy_recipes(tmp_path, "output\n" * 500, "[]")  # srl has 500 test lines, and counts
    done = make(tmp_path, "baseline", f"WORK={tmp_path}/work", recipe=recipe)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "recipes" / recipe / "work" / "generated" / "default" / source).read_text()
    paths = [tmp_path / "work" / "baselines" / f"{name}.txt" for name in names]
    assert all(len(path.read_text().splitlines()) == lines.count("\n") for path in paths)
    *_, scored = calls(tmp_path)
    assert f" --sys {' '.join(map(str, paths))} {tmp_path}/work/run" in scored
