"""Write recordings of a made-up language, and what is said in them: three to five words an utterance.

    python sounds.py --out DIR --train 1500 --valid 100 --test 200

A word is two or three syllables, and each letter has its sound: vowels are harmonics of a voice under two formants,
plosives a silence and a burst of noise, fricatives noise in a band, nasals and liquids low formants. Speakers differ
in pitch, in the length of their vocal tract, which moves all formants, and in tempo; each sound varies by itself too,
and there is noise. Words come in pairs that differ in one sound, and in little: i and e, o and u, a and o, m and n, l
and r, s and f, k and t. The formants of a sound vary so much from one time to the next that some words sound as their
twins do. The speakers of each split are others, and training does not say the test set's utterances.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import Example, as_wav, command_line, sizes_of, write_manifests

RATE = 8000
# Hz of the two formants; of a fricative the middle and the half width of its band.
VOWELS = {"a": (730, 1200), "e": (500, 1850), "i": (300, 2200), "o": (520, 900), "u": (330, 780)}
VOICED = {"m": (250, 1000), "n": (270, 1500), "l": (380, 1250), "r": (420, 1000)}
FRICATIVES = {"s": (3300, 500), "f": (2300, 900), "h": (1300, 800)}
PLOSIVES = {"p": (700, 500), "t": (2900, 600), "k": (1700, 500)}
CONSONANTS = (*VOICED, *FRICATIVES, *PLOSIVES)
# Letters whose sounds are near each other.
NEAR = (("i", "e"), ("o", "u"), ("a", "o"), ("m", "n"), ("l", "r"), ("s", "f"), ("k", "t"))
WORDS = 40
# Deviation of the logarithm of formants, and of the middle of a fricative's band, from one sound to the next.
VARIATION = 0.12
SPEAKERS = {"train": 30, "valid": 6, "test": 6}

Sound = NDArray[np.float64]


class Speaker(NamedTuple):
    """A voice: its pitch in Hz, and by how much its formants and its lengths are those of the average."""

    name: str
    pitch: float
    formants: float
    tempo: float


def lexicon(draw: random.Random) -> list[str]:
    """The words of the language, each before or behind its twin, which has one letter of NEAR in place of the other."""
    found: list[str] = []
    while len(found) < WORDS:
        syllables = [
            draw.choice(CONSONANTS) + draw.choice(list(VOWELS)) for _ in range(draw.choice((2, 2, 3)))
        ]
        word, (one, other) = "".join(syllables), draw.choice(NEAR)
        if one in word:
            twins = [word, word.replace(one, other, 1)]
            found += twins if not set(twins) & set(found) else []
    return found


def speakers(split: str, draw: random.Random) -> list[Speaker]:
    """The voices of a split."""
    return [
        Speaker(f"{split}{number}", draw.uniform(90, 230), draw.uniform(0.88, 1.15), draw.uniform(0.8, 1.25))
        for number in range(SPEAKERS[split])
    ]


class Voice:
    """Says the letters of words as a speaker does; all that varies is drawn from a seed."""

    def __init__(self, speaker: Speaker, seed: int) -> None:
        self.speaker, self.random = speaker, np.random.default_rng(seed)

    def say(self, words: Sequence[str]) -> Sound:
        """An utterance: words with short pauses between them, in noise; from -1 to 1."""
        parts = [self._pause(0.05, 0.15)]
        for word in words:
            parts += [self.letter(letter) for letter in word]
            parts.append(self._pause(0.02, 0.12))
        sound = np.concatenate([*parts, self._pause(0.05, 0.1)])
        sound *= self.random.uniform(0.25, 0.5) / np.abs(sound).max()
        return sound + self.random.normal(0, self.random.uniform(0.003, 0.012), len(sound))

    def letter(self, letter: str) -> Sound:
        """The sound of a letter."""
        if letter in VOWELS:
            return self._voiced(VOWELS[letter], self._length(0.11))
        if letter in VOICED:
            return 0.5 * self._voiced(VOICED[letter], self._length(0.07))
        if letter in FRICATIVES:
            return 0.35 * self._noise(FRICATIVES[letter], self._length(0.09))
        burst = 0.7 * self._noise(PLOSIVES[letter], self._length(0.025))
        return np.concatenate([np.zeros(self._length(0.04)), burst])

    def _length(self, seconds: float) -> int:
        return int(RATE * seconds / self.speaker.tempo * self.random.uniform(0.75, 1.3))

    def _varied(self) -> float:
        """By how much a frequency of one sound is higher than the speaker's average."""
        return float(np.exp(self.random.normal(0, VARIATION)))

    def _pause(self, least: float, most: float) -> Sound:
        return np.zeros(int(RATE * self.random.uniform(least, most)))

    def _voiced(self, formants: tuple[int, int], length: int) -> Sound:
        """Harmonics of a pitch that falls, each as strong as two resonances make it."""
        pitch = self.speaker.pitch * self.random.uniform(0.93, 1.07) * np.linspace(1.04, 0.96, length)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        centres = [hertz * self.speaker.formants * self._varied() for hertz in formants]
        sound = np.zeros(length)
        for harmonic in range(1, int(RATE / 2 / pitch.max())):
            hertz = harmonic * self.speaker.pitch
            strength = sum(
                weight / (1 + ((hertz - centre) / width) ** 2)
                for centre, weight, width in zip(centres, (1.0, 0.6), (90, 130), strict=True)
            )
            sound += strength * np.sin(harmonic * phase)
        return self._eased(sound / (np.abs(sound).max() + 1e-9))

    def _noise(self, band: tuple[int, int], length: int) -> Sound:
        """Noise in a band around a frequency."""
        centre, width = band[0] * min(1.1, self.speaker.formants) * self._varied(), band[1]
        spectrum = np.fft.rfft(self.random.normal(0, 1, length))
        hertz = np.fft.rfftfreq(length, 1 / RATE)
        sound = np.fft.irfft(spectrum * np.exp(-(((hertz - centre) / width) ** 2)), length)
        return self._eased(sound / (np.abs(sound).max() + 1e-9))

    def _eased(self, sound: Sound) -> Sound:
        """The sound with its first and last hundredth of a second rising and falling."""
        edge = min(RATE // 100, len(sound) // 2)
        ramp = np.linspace(0, 1, edge, endpoint=False)
        sound[:edge] *= ramp
        sound[len(sound) - edge :] *= ramp[::-1]
        return sound


def utterances(sizes: Mapping[str, int], seed: int) -> Iterator[tuple[str, str, Speaker, tuple[str, ...]]]:
    """Split, name, speaker and words of each utterance; no two say the same."""
    draw = random.Random(seed)
    words, said = lexicon(draw), set[tuple[str, ...]]()
    for split, number in sizes.items():
        voices = speakers(split, draw)
        for index in range(number):
            text = tuple(draw.choices(words, k=draw.randint(3, 5)))
            while text in said:
                text = tuple(draw.choices(words, k=draw.randint(3, 5)))
            said.add(text)
            yield split, f"{split}{index:05d}", voices[index % len(voices)], text


def examples(sizes: Mapping[str, int], seed: int) -> Iterator[Example]:
    """The recordings, with what is said in them and by whom."""
    for number, (split, name, speaker, text) in enumerate(utterances(sizes, seed)):
        path, said = f"wav/{name}.wav", " ".join(text)
        sound = Voice(speaker, seed << 32 | number).say(text)
        yield Example(split, path, as_wav(sound, RATE), (name, path, said, speaker.name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the recordings and a manifest for each split; gives the exit code."""
    description = "Write recordings of a made-up language, and what is said in them."
    options = command_line(description, "utterances", 1500, 100, 200).parse_args(arguments)
    found = examples(sizes_of(options), options.seed)
    return write_manifests(options.out, ("id", "audio", "tgt_text", "speaker"), found)


if __name__ == "__main__":
    sys.exit(main())
