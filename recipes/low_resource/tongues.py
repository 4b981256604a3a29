"""Write a small parallel corpus of made-up languages, text of one of them, and a larger corpus of a related one.

    python tongues.py --out DIR [--train 2000] [--valid 200] [--test 500] [--mono 20000] [--parent 20000] [--domain 0]
        [--seed 1]

writes train, valid and test files ending in .aa and .bb, mono.aa and mono.bb, which say nothing of each other, and
parent.train, parent.valid and parent.test files ending in .aa and .cc; with --domain, domain.train, domain.valid and
domain.test files ending in .aa and .bb, of that many training pairs. Lines of one number say the same thing:

    the washtreard mattrashed a serdsa trackmin blecknalird the stacksoosh stashtrerd .
    relovu sokopo lo todare sana lo pesuta keroveta numanure .

aa has the order subject, verb, object, and articles; bb and cc have subject, object, verb, endings for number and
object, and no articles. cc is to bb as a language to its neighbour: the same grammar, most stems the same but for
sounds that have shifted, and endings of its own. Words are as rare as words are: the n-th of its kind is drawn in
proportion to 1/n, so that a small corpus lacks many that the text of one language has. In the domain other words are
frequent, and many have another translation there, as terms do. No test sentence is in any other text. The corpus is a
function of its sizes and its seed. Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))
from generated import command_line, sizes_of, write_files

# How many stems there are of each kind.
NUMBERS = {"noun": 400, "adjective": 120, "verb": 150, "adverb": 40, "place": 8}
# The share of stems that cc has from where bb has them.
RELATED = 0.8
SHIFTS = str.maketrans("ptksaou", "bdgzoua")
# The share of nouns and verbs that are terms in the domain.
TERMS = 0.3
# Beginnings, middles and ends of syllables.
OF_AA = (
    ("st", "tr", "gr", "bl", "s", "m", "n", "d", "l", "w"),
    ("ea", "oo", "i", "a", "e"),
    ("n", "t", "rd", "sh", "ck", ""),
)
OF_BB = ("p", "t", "k", "s", "m", "n", "v", "l", "r", "d"), ("a", "e", "i", "o", "u"), ("",)
# Endings of many, of an object, and of a verb in the past.
ENDINGS = {"bb": ("mi", "ta", "re"), "cc": ("vel", "do", "nun")}


@dataclass(frozen=True)
class Phrase:
    """A noun with its number, whether it is known, and perhaps an adjective."""

    noun: int
    many: bool
    known: bool
    adjective: int | None


@dataclass(frozen=True)
class Meaning:
    """What a sentence says, whatever the language: stems by their numbers."""

    subject: Phrase
    verb: int
    past: bool
    object: Phrase | None
    adverb: int | None
    place: tuple[int, Phrase] | None


Stems = Mapping[str, Sequence[str]]


def make_stems(random: Random) -> dict[str, Stems]:
    """Language → kind → stems; the n-th of a kind means the same in all."""

    def words(parts: tuple[Sequence[str], ...], syllables: int, taken: set[str]) -> Iterator[str]:
        every = ["".join(part) for part in product(*parts)]
        while True:
            word = "".join(
                random.choice(every) for _ in range(random.randint(1, syllables) + (syllables > 1))
            )
            if word not in taken:
                taken.add(word)
                yield word

    of_aa, of_bb, of_cc = words(OF_AA, 2, {"the", "a"}), words(OF_BB, 2, set()), words(OF_BB, 2, set())
    found: dict[str, dict[str, list[str]]] = {language: {} for language in ("aa", "bb", "cc")}
    for kind, number in NUMBERS.items():
        found["aa"][kind] = [next(of_aa) for _ in range(number)]
        found["bb"][kind] = [next(of_bb) for _ in range(number)]
        found["cc"][kind] = [
            stem.translate(SHIFTS) if random.random() < RELATED else next(of_cc) for stem in found["bb"][kind]
        ]
    # What bb says in the domain: some stems are others.
    found["domain"] = {
        kind: [
            next(of_bb) if kind in ("noun", "verb") and random.random() < TERMS else stem
            for stem in found["bb"][kind]
        ]
        for kind in NUMBERS
    }
    return dict(found)


class Speaker:
    """Draws what to say; of a domain, words are frequent that are rare elsewhere."""

    def __init__(self, random: Random, *, of_domain: bool = False) -> None:
        self._random, self._of_domain = random, of_domain
        self._rarity = {
            kind: list(accumulate(1 / (rank + 2) for rank in range(number)))
            for kind, number in NUMBERS.items()
        }

    def stem(self, kind: str) -> int:
        """The number of a stem; the n-th as often as words of that rank are."""
        found = self._random.choices(range(NUMBERS[kind]), cum_weights=self._rarity[kind])[0]
        # Ranks from the middle on come first there.
        return (found + NUMBERS[kind] // 2) % NUMBERS[kind] if self._of_domain else found

    def maybe(self, share: float) -> bool:
        """True so often."""
        return self._random.random() < share

    def phrase(self) -> Phrase:
        """A noun phrase."""
        adjective = self.stem("adjective") if self.maybe(0.4) else None
        return Phrase(self.stem("noun"), self.maybe(0.3), self.maybe(0.5), adjective)

    def meaning(self) -> Meaning:
        """A sentence."""
        return Meaning(
            subject=self.phrase(),
            verb=self.stem("verb"),
            past=self.maybe(0.5),
            object=self.phrase() if self.maybe(0.8) else None,
            adverb=self.stem("adverb") if self.maybe(0.3) else None,
            place=(self.stem("place"), self.phrase()) if self.maybe(0.4) else None,
        )


def say_aa(meaning: Meaning, stems: Stems) -> str:
    """Subject, verb, object, adverb and place, the adjective before its noun."""

    def said(phrase: Phrase) -> list[str]:
        article = "the" if phrase.known else "some" if phrase.many else "a"
        adjective = [] if phrase.adjective is None else [stems["adjective"][phrase.adjective]]
        return [article, *adjective, stems["noun"][phrase.noun] + ("s" if phrase.many else "")]

    words = [*said(meaning.subject), stems["verb"][meaning.verb] + ("ed" if meaning.past else "")]
    words += said(meaning.object) if meaning.object else []
    words += [] if meaning.adverb is None else [f"{stems['adverb'][meaning.adverb]}ly"]
    words += [stems["place"][meaning.place[0]], *said(meaning.place[1])] if meaning.place else []
    return " ".join([*words, "."])


def say_bb(meaning: Meaning, stems: Stems, endings: tuple[str, str, str]) -> str:
    """Place, subject, object, adverb and verb, with endings; adjectives follow their nouns and have the same."""
    many, of_object, past = endings

    def said(phrase: Phrase, ending: str = "") -> list[str]:
        ending = (many if phrase.many else "") + ending
        # What is known stands with a word of its own after it.
        known = [stems["place"][0][:2]] if phrase.known else []
        adjective = [] if phrase.adjective is None else [stems["adjective"][phrase.adjective] + ending]
        return [stems["noun"][phrase.noun] + ending, *adjective, *known]

    words = [*said(meaning.place[1]), stems["place"][meaning.place[0]]] if meaning.place else []
    words += said(meaning.subject)
    words += said(meaning.object, of_object) if meaning.object else []
    words += [] if meaning.adverb is None else [stems["adverb"][meaning.adverb]]
    return " ".join([*words, stems["verb"][meaning.verb] + (past if meaning.past else ""), "."])


def say(language: str, meaning: Meaning, stems: Mapping[str, Stems]) -> str:
    """What a language says."""
    if language == "aa":
        return say_aa(meaning, stems["aa"])
    return say_bb(meaning, stems[language], ENDINGS["cc" if language == "cc" else "bb"])


def generate(
    sizes: Mapping[str, int], *, parent: int, mono: int, domain: int = 0, seed: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """Names and lines of the files; no two sentences of all of them say the same."""
    random = Random(seed)
    stems = make_stems(random)
    speakers = {name: Speaker(random, of_domain=name == "domain") for name in ("bb", "cc", "domain")}
    said: set[Meaning] = set()

    def meanings(number: int, language: str = "bb") -> list[Meaning]:
        found: list[Meaning] = []
        while len(found) < number:
            meaning = speakers[language].meaning()
            if meaning not in said:
                said.add(meaning)
                found.append(meaning)
        return found

    corpora = (("", "bb", sizes["train"]), ("parent.", "cc", parent), ("domain.", "domain", domain))
    for prefix, language, train in corpora:
        for split, number in {**sizes, "train": train}.items() if train else ():
            chosen = meanings(number, language)
            yield f"{prefix}{split}.aa", [say("aa", item, stems) for item in chosen]
            ending = "bb" if language == "domain" else language
            yield f"{prefix}{split}.{ending}", [say(language, item, stems) for item in chosen]
    for language in ("aa", "bb") if mono else ():
        yield f"mono.{language}", [say(language, item, stems) for item in meanings(mono)]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = command_line(
        "Write corpora of three made-up languages, two of them related.", "sentences", 2000, 200, 500
    )
    found.add_argument("--mono", type=int, default=20000, help="number of sentences of one language")
    found.add_argument(
        "--parent", type=int, default=20000, help="number of training sentences of the related language"
    )
    found.add_argument(
        "--domain", type=int, default=0, help="number of training sentences of a domain; 0: no domain"
    )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the corpora to a folder."""
    options = parser().parse_args(arguments)
    numbers = {"parent": options.parent, "mono": options.mono, "domain": options.domain, "seed": options.seed}
    return write_files(options.out, generate(sizes_of(options), **numbers))


if __name__ == "__main__":
    sys.exit(main())
