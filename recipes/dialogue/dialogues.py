"""Write dialogues about opening hours, prices and bookings, with what has to be said at each turn.

    python dialogues.py --out DIR [--train 6000] [--valid 200] [--test 400] [--seed 1]

makes train.jsonl, valid.jsonl and test.jsonl, a dialogue a line, and test.facts.jsonl, the facts of each of SYSTEM's
turns in test.jsonl, which truth.py compares answers with:

    {"turns": ["When does the Blue Lantern open on Friday?", "On Friday the Blue Lantern opens at 11 am.", …],
     "speakers": ["USER", "SYSTEM", …]}
    {"act": "opens", "place": "Blue Lantern", "day": "Friday", "time": "11 am"}

The hours and prices of the places are the same in all dialogues: a model learns them. What a user wants to book is in
the dialogue alone; it is asked for step by step, refused where it cannot be, and corrected. No dialogue is there twice.
The files are a function of the sizes and the seed. Only the standard library is needed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1]))
from generated import command_line, sizes_of, write_files

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PEOPLE = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NAMES = (
    *(
        "Adler",
        "Baker",
        "Brandt",
        "Castillo",
        "Chen",
        "Cohen",
        "Dubois",
        "Eriksen",
        "Fischer",
        "Garcia",
        "Haddad",
    ),
    *(
        "Hansen",
        "Ito",
        "Ivanova",
        "Jansen",
        "Keller",
        "Khan",
        "Kim",
        "Kowalski",
        "Lambert",
        "Laurent",
        "Lopez",
    ),
    *(
        "Martin",
        "Meyer",
        "Moreau",
        "Nakamura",
        "Novak",
        "Okafor",
        "Olsen",
        "Park",
        "Patel",
        "Petrov",
        "Quinn",
    ),
    *("Ricci", "Romero", "Rossi", "Sato", "Schmidt", "Silva", "Singh", "Suzuki", "Taylor", "Tran", "Vargas"),
    *("Virtanen", "Wagner", "Walsh", "Wang", "Weber", "Yilmaz"),
)

# --- places -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A place: what one books there, its hours by day, in half hours from midnight, and its price in euros a person."""

    name: str
    item: str
    hours: Mapping[str, tuple[int, int]]
    price: int


# Name, what one books, hours on weekdays, Saturday and Sunday, the day it is closed, euros a person.
_PLACES = """
    Blue Lantern   a table  11:00-22:00  12:00-23:00  12:00-21:00  Monday     18
    Old Mill       a table  17:30-23:30  17:00-23:30  11:30-20:00  Tuesday    25
    Green Pepper   a table  10:30-21:30  10:30-22:30  -            -          14
    Harbour Grill  a table  16:00-22:30  12:30-23:00  12:30-22:00  Wednesday  31
    Sea Museum     a tour   9:00-17:00   9:30-18:00   10:00-18:00  Monday     8
    Clock Tower    a tour   8:30-16:30   10:00-15:00  -            Thursday   5
    City Gallery   a tour   10:00-19:00  10:00-20:00  11:00-17:00  Tuesday    12
    Palm House     a tour   8:00-18:30   8:00-19:30   8:00-19:30   -          7
    North Hall     a court  7:00-22:00   8:30-20:30   8:30-20:00   -          11
    River Club     a court  6:30-21:00   9:00-18:00   9:00-14:30   Friday     15
    Sun Theatre    a box    18:30-23:00  14:30-23:30  13:30-21:30  Monday     42
    Little Opera   a box    19:00-22:30  18:00-23:00  15:30-20:30  Wednesday  56
"""


def _halves(time: str) -> int:
    hour, minute = time.split(":")
    return 2 * int(hour) + int(minute) // 30


def _read_places() -> dict[str, Place]:
    places = {}
    for line in _PLACES.strip().splitlines():
        name, item, *spans, closed, price = re.split(r"\s{2,}", line.strip())
        by_day = [spans[0]] * 5 + spans[1:]
        hours = {
            day: (_halves(span.split("-")[0]), _halves(span.split("-")[1]))
            for day, span in zip(DAYS, by_day, strict=True)
            if span != "-" and day != closed
        }
        places[name] = Place(name, item, hours, int(price))
    return places


PLACES = _read_places()


def say_time(half: int) -> str:
    """Say a time in half hours from midnight: 22 is '11 am', 45 '10:30 pm'."""
    hour, is_half = divmod(half, 2)
    return f"{(hour - 1) % 12 + 1}{':30' if is_half else ''} {'am' if hour < 12 else 'pm'}"


# --- answers ----------------------------------------------------------------------------------------------

Facts = dict[str, str]
"""What an answer has to say: its act, and the values of slots."""

# The forms of the answers that tell a fact; those that name neither place nor day are for the first of a kind.
TOLD = {
    "opens": (
        "On {day} the {place} opens at {time}.",
        "The {place} opens at {time} on {day}.",
        "On {day} you can come to the {place} from {time} on.",
        "It opens at {time}.",
    ),
    "closes": (
        "On {day} the {place} closes at {time}.",
        "The {place} is open until {time} on {day}.",
        "On {day} the {place} stays open until {time}.",
        "It closes at {time}.",
    ),
    "closed": (
        "The {place} is closed on {day}.",
        "I am sorry, on {day} the {place} is closed.",
        "On {day} the {place} does not open.",
    ),
    "is open": (
        "Yes, on {day} the {place} is open from {from} to {time}.",
        "Yes, the {place} is open until {time} on {day}, from {from} on.",
        "Yes, it is, from {from} to {time}.",
    ),
    "is not open": (
        "No, on {day} the {place} is open from {from} to {time}.",
        "No, the {place} is open from {from} to {time} on {day}.",
        "No, only from {from} to {time}.",
    ),
    "costs": (
        "The {place} costs {price} euros a person.",
        "At the {place} you pay {price} euros each.",
        "That is {price} euros a person at the {place}.",
    ),
    "welcome": ("You are welcome.", "My pleasure. Goodbye!", "Goodbye, and have a nice day!"),
}
# Those of a booking; {known} is all that is known of it.
BOOKING = {
    "day": ("{known}. On which day?", "{known}. Which day shall it be?", "Gladly: {known}. For which day?"),
    "people": ("{known}. For how many people?", "{known}. How many of you will come?"),
    "time": (
        "{known}. At what time?",
        "{known}. What time suits you?",
        "Gladly: {known}. When will you come?",
    ),
    "name": ("{known}. In whose name?", "{known}. What is your name, please?"),
    "confirm": ("{known}. Is that right?", "So that is {known}. Shall I book it?"),
    "booked": ("I have booked {known}.", "Done: {known}.", "{known} is booked. See you then!"),
    "other day": (
        "{known}. But on {closed} the {place} is closed. Which other day?",
        "{known}. I am sorry, the {place} is closed on {closed}. On which other day?",
    ),
    "other time": (
        "{known}. But the {place} is open from {from} to {until} then. At what time?",
        "{known}. I am sorry, it is open from {from} to {until} only. What other time?",
    ),
}
FORMS = TOLD | BOOKING
# How what is known of a booking is said, in this order.
KNOWN = {
    "item": "{item}",
    "people": " for {people}",
    "place": " at the {place}",
    "day": " on {day}",
    "time": " at {time}",
    "name": " in the name of {name}",
}


def say_known(facts: Facts) -> str:
    """What is known of a booking: a table for four at the Old Mill on Friday."""
    return "".join(form.format(**facts) for slot, form in KNOWN.items() if slot in facts)


def say(facts: Facts, form: str) -> str:
    """An answer in one of the forms of its act."""
    known = say_known(facts) if "{known}" in form else ""
    text = form.format(known=known, **facts)
    return text[:1].upper() + text[1:]


# --- dialogues --------------------------------------------------------------------------------------------

ASKED = {
    "opens": (
        "When does the {place} open on {day}?",
        "From when on is the {place} open on {day}?",
        "What time does the {place} open on {day}, please?",
    ),
    "closes": (
        "When does the {place} close on {day}?",
        "Until when is the {place} open on {day}?",
        "How long is the {place} open on {day}?",
    ),
    "open at": (
        "Is the {place} open on {day} at {time}?",
        "Can I come to the {place} on {day} at {time}?",
        "Will the {place} be open at {time} on {day}?",
    ),
    "costs": ("How much is the {place}?", "What does the {place} cost?", "What do I pay at the {place}?"),
}
OTHER_DAY = ("And on {day}?", "What about {day}?", "And {day}?")
OTHER_PLACE = ("And the {place}?", "What about the {place}?", "And at the {place}?")
WANTED = ("I would like to book {wish}.", "Can I have {wish}, please?", "{wish}, please.", "We want {wish}.")
GIVEN = {
    "day": ("On {day}.", "{day}, please.", "{day} would be nice.", "Let us say {day}."),
    "people": ("For {people}.", "{people} of us.", "We are {people}.", "{people} people."),
    "time": ("At {time}.", "{time}, please.", "We come at {time}.", "Around {time}."),
    "name": ("{name}.", "In the name of {name}.", "My name is {name}.", "{name}, please."),
}
CHANGED = {
    "day": ("No, on {day}, please.", "Make that {day}.", "Sorry, I meant {day}."),
    "people": ("No, for {people}, please.", "Make that {people} people.", "Sorry, we are {people}."),
    "time": ("No, at {time}, please.", "Make that {time}.", "Sorry, I meant {time}."),
    "name": ("No, the name is {name}.", "Sorry, {name}, not that.", "Make that {name}."),
}
AGREED = ("Yes, please.", "That is right.", "Yes.", "Perfect, thank you.")
THANKED = ("Thank you!", "Thanks, that is all.", "Thank you, goodbye.")


@dataclass
class Writer:
    """One dialogue as it is made: its turns, and what has to be said at each of SYSTEM's."""

    random: Random
    turns: list[str] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)

    def user(self, forms: Sequence[str], **values: str) -> None:
        """Add what the user says, in one of some forms."""
        text = self.random.choice(forms).format(**values)
        self.turns.append(text[:1].upper() + text[1:])

    def system(self, facts: Facts, *, in_full: bool = False) -> None:
        """Add an answer in one of the forms of its act; in_full: one that names what it is about."""
        forms = [
            form
            for form in FORMS[facts["act"]]
            if not in_full or "{place}" in form or facts["act"] in BOOKING
        ]
        self.turns.append(say(facts, self.random.choice(forms)))
        self.facts.append(facts)

    def ask(self, number: int) -> str:
        """Some questions about hours or prices, each after the first about another day or place; gives the place."""
        kind = self.random.choice(list(ASKED))
        place, day = self.random.choice(list(PLACES)), self.random.choice(DAYS)
        time = self.random.randrange(14, 47)
        self.user(ASKED[kind], place=place, day=day, time=say_time(time))
        self.system(tell(kind, place, day, time), in_full=number == 1)
        for _ in range(number - 1):
            if kind == "costs" or self.random.random() < 0.5:
                place = self.random.choice([name for name in PLACES if name != place])
                self.user(OTHER_PLACE, place=place)
            else:
                day = self.random.choice([name for name in DAYS if name != day])
                self.user(OTHER_DAY, day=day)
            self.system(tell(kind, place, day, time), in_full=True)
        return place

    def book(self, place: str | None) -> None:
        """A booking, from the first wish to its confirmation."""
        name = place or self.random.choice(list(PLACES))
        booking: Facts = {"item": PLACES[name].item, "place": name}
        first = [slot for slot in ("people", "day") if self.random.random() < 0.4]
        wishes = {slot: self._wish(slot, booking) for slot in first}
        said = {slot: value for slot, value in (booking | wishes).items() if not (slot == "place" and place)}
        if place:
            said["place"] = place
        self.user(WANTED, wish=say_known(said))
        self._take(booking, wishes)
        while missing := next(
            (slot for slot in ("day", "people", "time", "name") if slot not in booking), None
        ):
            value = self._wish(missing, booking)
            self.user(GIVEN[missing], **{missing: value})
            self._take(booking, {missing: value})
        while self.random.random() < 0.35:
            slot = self.random.choice(list(CHANGED))
            value = self._right(slot, booking)
            self.user(CHANGED[slot], **{slot: value})
            self._take(booking, {slot: value})
        self.user(AGREED)
        self.system({"act": "booked", **booking})

    def _wish(self, slot: str, booking: Facts) -> str:
        """What the user says first, which may be a day or a time at which nothing is open."""
        if slot == "day":
            return self.random.choice(DAYS)
        if slot == "time" and self.random.random() < 0.25:
            return say_time(self.random.randrange(14, 47))
        return self._right(slot, booking)

    def _right(self, slot: str, booking: Facts) -> str:
        """Another value than there is, with which the booking can be."""
        hours = PLACES[booking["place"]].hours
        if slot == "time":
            start, end = hours[booking["day"]]
            values = [say_time(time) for time in range(start, end - 1)]
        elif slot == "day":
            values = [day for day in hours if "time" not in booking or _is_open(hours[day], booking["time"])]
        else:
            values = list({"people": PEOPLE, "name": NAMES}[slot])
        return self.random.choice([value for value in values if value != booking.get(slot)] or values)

    def _take(self, booking: Facts, wishes: Mapping[str, str]) -> None:
        """Put into a booking what can be, and answer."""
        place = PLACES[booking["place"]]
        booking |= {slot: value for slot, value in wishes.items() if slot not in ("day", "time")}
        if (day := wishes.get("day")) is not None:
            if day not in place.hours:
                self.system({"act": "other day", "closed": day, **booking})
                return
            booking["day"] = day
        if (time := wishes.get("time")) is not None:
            start, end = place.hours[booking["day"]]
            if not _is_open((start, end), time):
                self.system({"act": "other time", "from": say_time(start), "until": say_time(end), **booking})
                return
            booking["time"] = time
        missing = next((slot for slot in ("day", "people", "time", "name") if slot not in booking), "confirm")
        self.system({"act": missing, **booking})


def _is_open(hours: tuple[int, int], time: str) -> bool:
    """Whether one can come at a time: it is open then, and for half an hour more."""
    return any(say_time(half) == time for half in range(hours[0], hours[1] - 1))


def tell(kind: str, place: str, day: str, time: int) -> Facts:
    """What has to be answered to a question about a place."""
    where = PLACES[place]
    if kind == "costs":
        return {"act": "costs", "place": place, "price": str(where.price)}
    if day not in where.hours:
        return {"act": "closed", "place": place, "day": day}
    start, end = where.hours[day]
    if kind in ("opens", "closes"):
        return {"act": kind, "place": place, "day": day, "time": say_time(start if kind == "opens" else end)}
    act = "is open" if start <= time < end else "is not open"
    return {"act": act, "place": place, "day": day, "from": say_time(start), "time": say_time(end)}


def make_dialogue(random: Random) -> Writer:
    """A dialogue: some questions, a booking, or both."""
    writer = Writer(random)
    kind = random.random()
    place = writer.ask(random.randint(1, 3)) if kind < 0.65 else None
    if kind > 0.4:
        writer.book(place)
    if random.random() < 0.5:
        writer.user(THANKED)
        writer.system({"act": "welcome"})
    return writer


def make_splits(sizes: Mapping[str, int], seed: int) -> dict[str, list[Writer]]:
    """Dialogues for each split, all different."""
    random = Random(seed)
    seen: set[tuple[str, ...]] = set()
    splits: dict[str, list[Writer]] = {}
    # The smaller ones first, lest all short dialogues be in the largest.
    for name in sorted(sizes, key=lambda name: sizes[name]):
        dialogues = splits.setdefault(name, [])
        while len(dialogues) < sizes[name]:
            dialogue = make_dialogue(random)
            if tuple(dialogue.turns) not in seen:
                seen.add(tuple(dialogue.turns))
                dialogues.append(dialogue)
    return splits


def to_json(dialogue: Writer) -> str:
    """A dialogue as a line of JSON."""
    speakers = [("USER", "SYSTEM")[number % 2] for number in range(len(dialogue.turns))]
    return json.dumps({"turns": dialogue.turns, "speakers": speakers})


# --- the command ------------------------------------------------------------------------------------------


def files(splits: Mapping[str, Sequence[Writer]]) -> Iterator[tuple[str, list[str]]]:
    """Names and lines of the files: the dialogues of all splits, and the facts of the test set."""
    for name, dialogues in splits.items():
        yield f"{name}.jsonl", [to_json(dialogue) for dialogue in dialogues]
    facts = [json.dumps(facts) for dialogue in splits["test"] for facts in dialogue.facts]
    yield "test.facts.jsonl", facts


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the dialogues to a folder."""
    description = "Write dialogues whose answers can be checked."
    options = command_line(description, "dialogues", 6000, 200, 400).parse_args(arguments)
    return write_files(options.out, files(make_splits(sizes_of(options), options.seed)))


if __name__ == "__main__":
    sys.exit(main())
