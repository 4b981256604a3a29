"""One model of several languages, on a copy of the recipe with a stand-in for `s2s` that notes how it is called."""

from __future__ import annotations

from pathlib import Path

from recipe_scripts import calls, copy_recipes, make, needs_make, verbs

pytestmark = needs_make


def test_one_model_is_compared_with_one_of_each_pair_and_for_pairs_never_seen_with_itself_by_way_of_the_centre(
    tmp_path: Path,
) -> None:
    copy_recipes(tmp_path, "output\n", "[]")
    text = tmp_path / "text"
    text.mkdir()
    for split in ("train", "valid", "test"):
        for language in ("en", "de", "fr"):
            (text / f"{split}.{language}").write_text("a b\n")
    own = [f"DATA={text}", "LANGUAGES=de fr", "UPDATES=40"]
    done = make(tmp_path, "compare", *own, recipe="languages")
    assert done.returncode == 0, done.stderr
    found = calls(tmp_path)
    pairs = ("en-de", "de-en", "en-fr", "fr-en")
    made = {call.split("--destdir ")[1].split()[0]: call for call in found if call.startswith("preprocess")}
    trained = {call.split("--save-dir ")[1].split()[0]: call for call in found if call.startswith("train")}
    alone = tmp_path / "recipes" / "languages" / "work" / "text"
    assert {*made} == {"work/text/data", *(f"{alone}/{pair}/data" for pair in pairs)}
    assert {*trained} == {"work/text/run", *(f"{alone}/{pair}/run" for pair in pairs)}
    for split in ("train", "valid", "test"):
        named = " ".join(f"{pair}={text}/{split}" for pair in pairs)
        assert f"--{split}pref {named} " in made["work/text/data"]
    assert "--encoder-langtok tgt" in made["work/text/data"]
    assert "--source-lang" not in made["work/text/data"]
    assert "--max-update 40 " in trained["work/text/run"]
    assert "--valid-subset valid,valid1,valid2,valid3" in trained["work/text/run"]
    for pair in pairs:
        source, target = pair.split("-")
        assert f"--source-lang {source} --target-lang {target} " in made[f"{alone}/{pair}/data"]
        assert "--max-update 10" in trained[f"{alone}/{pair}/run"]
    # What the one model translates: from the test set, and for pairs never seen also from its own output in the centre.
    asked = {
        (call.split("--input ")[1].split()[0], call.split("--source-tag ")[1].split()[0])
        for call in found
        if "--source-tag" in call
    }
    unseen = {("de", "fr"), ("fr", "de")}
    direct = {tuple(pair.split("-")) for pair in pairs} | unseen
    assert asked == {
        *((f"{text}/test.{source}", f"<2{target}>") for source, target in direct),
        *((f"work/text/one/{source}-en.txt", f"<2{target}>") for source, target in unseen),
    }
    scored = [call for call in found if call.startswith("score")]
    assert len(scored) == len(direct)
    assert f"--ref {text}/test.de --sys work/text/en-de/run.hyp.txt work/text/one/en-de.txt " in scored[0]
    assert f"--ref {text}/test.de --sys work/text/through/fr-de.txt work/text/one/fr-de.txt " in scored[-1]
    assert make(tmp_path, "compare", *own, recipe="languages").returncode == 0
    assert {*verbs(calls(tmp_path))} == {"score"}
