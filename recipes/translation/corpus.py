"""Write a small parallel corpus: numbers, dates and clock times in English, German and Chinese words.

    python corpus.py --out DIR [--train 20000] [--valid 500] [--test 500] [--seed 1]

writes train, valid and test files ending in .en, .de and .zh; line n of the three says the same thing:

    The meeting in room twelve starts at half past seven in the evening.
    Die Besprechung in Raum zwölf beginnt um halb acht abends.
    十二号房间的会议晚上七点半开始。

Every sentence is a template with slots. The mapping is one-to-one: an English sentence has one German and one
Chinese form, and the other way round. The numbers, dates and times of a template are dealt out to the three
splits, so that a test sentence shows the model a value that it never saw in that sentence.
The corpus is a function of its sizes and its seed. Only the standard library is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from generated import SPLITS, command_line, sizes_of, write_files

LANGUAGES = ("en", "de", "zh")
HELD_OUT = 0.06  # the share of a slot's values that valid gets, and that test gets

Words = tuple[str, str, str]  # the same thing in English, German and Chinese

# --- numbers ----------------------------------------------------------------------------------------------


def listed(text: str) -> list[str]:
    """Split a line of words."""
    return text.split()


ENGLISH = listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
ENGLISH_TENS = listed("_ ten twenty thirty forty fifty sixty seventy eighty ninety")
ENGLISH_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth"}
ENGLISH_ORDINALS |= {"nine": "ninth", "twelve": "twelfth", "twenty": "twentieth", "thirty": "thirtieth"}
GERMAN = listed(
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn"
)
GERMAN_TENS = listed("_ zehn zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")
GERMAN_ORDINALS = {1: "ersten", 3: "dritten", 7: "siebten", 8: "achten"}
CHINESE = "零一二三四五六七八九"


def english_number(number: int) -> str:
    """Say 0 … 9999: 105 is 'one hundred and five', 1205 'one thousand two hundred and five'."""
    if number < 20:
        return ENGLISH[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return ENGLISH_TENS[tens] + (f"-{ENGLISH[ones]}" if ones else "")
    unit, word = (1000, "thousand") if number >= 1000 else (100, "hundred")
    count, rest = divmod(number, unit)
    glue = "" if not rest else " and " if rest < 100 else " "
    return f"{ENGLISH[count]} {word}{glue}{english_number(rest) if rest else ''}"


def german_number(number: int) -> str:
    """Say 0 … 9999: 21 is 'einundzwanzig', 1205 'eintausendzweihundertfünf'."""
    if number < 20:
        return GERMAN[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return (f"{_german_prefix(ones)}und" if ones else "") + GERMAN_TENS[tens]
    unit, word = (1000, "tausend") if number >= 1000 else (100, "hundert")
    count, rest = divmod(number, unit)
    return _german_prefix(count) + word + (german_number(rest) if rest else "")


def _german_prefix(digit: int) -> str:
    """Say a digit in front of another word: 'ein' instead of 'eins'."""
    return "ein" if digit == 1 else GERMAN[digit]


def chinese_number(number: int, *, counting: bool = False) -> str:
    """Say 0 … 9999: 12 is 十二, 105 一百零五, 110 一百一十, 2002 两千零二; counting things, 2 is 两."""
    if number < 10:
        return "两" if counting and number == 2 else CHINESE[number]
    spoken, gap = "", False
    for unit, word in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit == 0:
            gap = bool(spoken)
            continue
        spoken += "零" if gap else ""
        gap = False
        spoken += "两" if (digit, unit) == (2, 1000) else CHINESE[digit]
        spoken += word
    return spoken.removeprefix("一") if number < 20 else spoken


def say_number(number: int) -> Words:
    """Say a number as a label: room two is 二号房间."""
    return english_number(number), german_number(number), chinese_number(number)


def say_count(number: int) -> Words:
    """Say a number of things: two books are 两本书."""
    return english_number(number), german_number(number), chinese_number(number, counting=True)


def say_sum(pair: tuple[int, int]) -> Words:
    """Say an addition: 'two plus two is four'."""
    first, second, total = (say_number(number) for number in (*pair, sum(pair)))
    return (
        f"{first[0]} plus {second[0]} is {total[0]}",
        f"{first[1]} plus {second[1]} ist {total[1]}",
        f"{first[2]}加{second[2]}等于{total[2]}",
    )


# --- dates ------------------------------------------------------------------------------------------------

MONTHS = (
    listed("January February March April May June July August September October November December"),
    listed("Januar Februar März April Mai Juni Juli August September Oktober November Dezember"),
)
DAYS_IN_MONTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def english_ordinal(number: int) -> str:
    """Say 1 … 99 as an ordinal: 3 is 'third', 21 'twenty-first'."""
    head, dash, last = english_number(number).rpartition("-")
    return head + dash + ENGLISH_ORDINALS.get(last, f"{last}th")


def german_ordinal(number: int) -> str:
    """Say 1 … 99 as the ordinal after 'am': 3 is 'dritten', 21 'einundzwanzigsten'."""
    return GERMAN_ORDINALS.get(number, german_number(number) + ("ten" if number < 20 else "sten"))


def say_year(year: int) -> Words:
    """Say 1100 … 2099: 1994 is 'nineteen ninety-four', 'neunzehnhundertvierundneunzig', 一九九四."""
    century, rest = divmod(year, 100)
    if century == 20 and rest < 10:
        english = english_number(year)
    else:
        spoken = "hundred" if rest == 0 else f"oh {ENGLISH[rest]}" if rest < 10 else english_number(rest)
        english = f"{english_number(century)} {spoken}"
    german = german_number(year)
    if century < 20:
        german = f"{german_number(century)}hundert{german_number(rest) if rest else ''}"
    return english, german, "".join("〇" if digit == "0" else CHINESE[int(digit)] for digit in str(year))


def say_day(day: tuple[int, int]) -> Words:
    """Say a (month, day): 'the third of March', 'dritten März', 三月三日."""
    month, number = day
    return (
        f"the {english_ordinal(number)} of {MONTHS[0][month - 1]}",
        f"{german_ordinal(number)} {MONTHS[1][month - 1]}",
        f"{chinese_number(month)}月{chinese_number(number)}日",
    )


def say_date(date: tuple[int, int, int]) -> Words:
    """Say a (year, month, day): 'the third of March, nineteen ninety-four'."""
    year, day = say_year(date[0]), say_day(date[1:])
    return f"{day[0]}, {year[0]}", f"{day[1]} {year[1]}", f"{year[2]}年{day[2]}"


# --- clock times ------------------------------------------------------------------------------------------

# What follows the hour in English (with the hour meant), in German, and in Chinese, at each five minutes.
MINUTES: Mapping[int, tuple[str, str, str]] = {
    0: ("{this} o'clock", "{this} Uhr", "{this}点"),
    5: ("five past {this}", "fünf nach {this}", "{this}点零五分"),
    10: ("ten past {this}", "zehn nach {this}", "{this}点十分"),
    15: ("quarter past {this}", "Viertel nach {this}", "{this}点一刻"),
    20: ("twenty past {this}", "zwanzig nach {this}", "{this}点二十分"),
    25: ("twenty-five past {this}", "fünf vor halb {next}", "{this}点二十五分"),
    30: ("half past {this}", "halb {next}", "{this}点半"),
    35: ("twenty-five to {next}", "fünf nach halb {next}", "{this}点三十五分"),
    40: ("twenty to {next}", "zwanzig vor {next}", "{this}点四十分"),
    45: ("quarter to {next}", "Viertel vor {next}", "{this}点三刻"),
    50: ("ten to {next}", "zehn vor {next}", "{this}点五十分"),
    55: ("five to {next}", "fünf vor {next}", "{this}点五十五分"),
}
DAY_PARTS: Mapping[str, Words] = {
    "morning": ("in the morning", "morgens", "早上"),
    "afternoon": ("in the afternoon", "nachmittags", "下午"),
    "evening": ("in the evening", "abends", "晚上"),
}
HOURS = {"": range(1, 13), "morning": range(5, 10), "afternoon": range(1, 6), "evening": range(6, 11)}


def say_time(time: tuple[int, int, str]) -> Words:
    """Say an (hour 1 … 12, minute, part of the day or ''): 7:30 is 'half past seven', 'halb acht', 七点半."""
    hour, minute, part = time
    following = hour % 12 + 1
    english, german, chinese = MINUTES[minute]
    english = english.format(this=ENGLISH[hour], next=ENGLISH[following])
    german_hour = "ein" if (hour, minute) == (1, 0) else GERMAN[hour]
    german = german.format(this=german_hour, next=GERMAN[following])
    chinese = chinese.format(this=chinese_number(hour, counting=True))
    if not part:
        return english, german, chinese
    words = DAY_PARTS[part]
    return f"{english} {words[0]}", f"{german} {words[1]}", f"{words[2]}{chinese}"


# --- templates --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slot:
    """What a template's slot may hold: values in groups that are drawn equally often, and how to say one.

    The values of a `dealt` slot are dealt out to train, valid and test; those of the others are shared.
    """

    groups: Sequence[Sequence[Any]]
    say: Callable[[Any], Words]
    dealt: bool = True


def numbers(low: int, high: int, say: Callable[[int], Words] = say_number) -> Slot:
    """Make a slot of whole numbers, short ones as often as long ones.

    Counting, numbers that end in 01 are left out: German usage varies there (hundertein, hunderteins).
    """
    values = [number for number in range(low, high + 1) if say is not say_count or number % 100 != 1]
    groups = [[number for number in values if len(str(number)) == length] for length in (1, 2, 3, 4)]
    return Slot([group for group in groups if group], say)


def words(table: str) -> Slot:
    """Make a slot of words, 'English|German|Chinese' a line."""
    return Slot(
        [[tuple(line.strip().split("|")) for line in table.strip().splitlines()]], lambda entry: entry, False
    )


DAYS = [(month, day) for month, days in enumerate(DAYS_IN_MONTH, start=1) for day in range(1, days + 1)]
DATES = [(year, *day) for day in DAYS for year in range(1850, 2030)]
TIMES = [(hour, minute, part) for part, hours in HOURS.items() for hour in hours for minute in MINUTES]

CITY = words("""
    Berlin|Berlin|柏林
    Munich|München|慕尼黑
    Vienna|Wien|维也纳
    Cologne|Köln|科隆
    Zurich|Zürich|苏黎世
    Geneva|Genf|日内瓦
    Prague|Prag|布拉格
    Warsaw|Warschau|华沙
    Rome|Rom|罗马
    Venice|Venedig|威尼斯
    Athens|Athen|雅典
    Paris|Paris|巴黎
    London|London|伦敦
    Beijing|Peking|北京
""")
PERSON = words("""
    Anna|Anna|安娜
    Peter|Peter|彼得
    Maria|Maria|玛丽亚
    Thomas|Thomas|托马斯
    Julia|Julia|朱莉娅
    Martin|Martin|马丁
    David|David|大卫
    Laura|Laura|劳拉
""")
THINGS = words("""
    books|Bücher|本书
    chairs|Stühle|把椅子
    tickets|Karten|张票
    pictures|Bilder|幅画
    letters|Briefe|封信
    apples|Äpfel|个苹果
    bottles|Flaschen|个瓶子
    knives|Messer|把刀
    trees|Bäume|棵树
    shirts|Hemden|件衬衫
""")
GOODS = words("""
    The ticket|Die Karte|这张票
    The table|Der Tisch|这张桌子
    The book|Das Buch|这本书
    The lamp|Die Lampe|这盏灯
    The coat|Der Mantel|这件大衣
    The bicycle|Das Fahrrad|这辆自行车
""")
BUILDING = words("""
    The bridge|Die Brücke|这座桥
    The church|Die Kirche|这座教堂
    The tower|Der Turm|这座塔
    The school|Die Schule|这所学校
    The railway station|Der Bahnhof|这个火车站
""")
POST = words("""
    The letter|Der Brief|这封信
    The parcel|Das Paket|这个包裹
    The invoice|Die Rechnung|这张发票
""")
SHOP = words("""
    The bakery|Die Bäckerei|面包店
    The museum|Das Museum|博物馆
    The library|Die Bibliothek|图书馆
    The bank|Die Bank|银行
""")
EVENT = words("""
    meeting|Die Besprechung|会议
    lecture|Die Vorlesung|讲座
    concert|Das Konzert|音乐会
    exam|Die Prüfung|考试
""")
NUMBER, COUNT, YEAR = numbers(0, 9999), numbers(2, 9999, say_count), Slot([range(1850, 2030)], say_year)
DAY, DATE, TIME = Slot([DAYS], say_day), Slot([DATES], say_date), Slot([TIMES], say_time)


@dataclass(frozen=True)
class Template:
    """One sentence in three languages, with named slots."""

    en: str
    de: str
    zh: str
    slots: Mapping[str, Slot]


TEMPLATES = (
    Template("{n}", "{n}", "{n}", {"n": NUMBER}),
    Template("on {d}", "am {d}", "{d}", {"d": DATE}),
    Template("at {t}", "um {t}", "{t}", {"t": TIME}),
    Template("It is {t}.", "Es ist {t}.", "现在是{t}。", {"t": TIME}),
    Template(
        "{s}.",
        "{s}.",
        "{s}。",
        {"s": Slot([[(a, b) for a in range(100) for b in range(100)]], say_sum)},
    ),
    Template(
        "The train to {c} leaves from platform {n} at {t}.",
        "Der Zug nach {c} fährt um {t} von Gleis {n} ab.",
        "开往{c}的火车{t}从{n}号站台开出。",
        {"c": CITY, "n": numbers(1, 30), "t": TIME},
    ),
    Template(
        "Bus number {n} to {c} stops here at {t}.",
        "Der Bus Nummer {n} nach {c} hält hier um {t}.",
        "开往{c}的{n}路公共汽车{t}停在这里。",
        {"c": CITY, "n": numbers(1, 999), "t": TIME},
    ),
    Template(
        "The {e} in room {n} starts at {t}.",
        "{e} in Raum {n} beginnt um {t}.",
        "{n}号房间的{e}{t}开始。",
        {"e": EVENT, "n": numbers(1, 999), "t": TIME},
    ),
    Template(
        "{s} opens at {t} and closes at {u}.",
        "{s} öffnet um {t} und schließt um {u}.",
        "{s}{t}开门，{u}关门。",
        {"s": SHOP, "t": TIME, "u": TIME},
    ),
    Template(
        "The flight to {c} on {d} was {n} minutes late.",
        "Der Flug nach {c} am {d} hatte {n} Minuten Verspätung.",
        "{d}飞往{c}的航班晚点{n}分钟。",
        {"c": CITY, "d": DAY, "n": numbers(2, 300, say_count)},
    ),
    Template("{p} was born on {d}.", "{p} wurde am {d} geboren.", "{p}出生于{d}。", {"p": PERSON, "d": DATE}),
    Template("{s} arrived on {d}.", "{s} kam am {d} an.", "{s}于{d}寄到。", {"s": POST, "d": DATE}),
    Template("{b} was built in {y}.", "{b} wurde {y} gebaut.", "{b}建于{y}年。", {"b": BUILDING, "y": YEAR}),
    Template(
        "On {d}, {p} bought {n} {g}.",
        "Am {d} kaufte {p} {n} {g}.",
        "{d}，{p}买了{n}{g}。",
        {"d": DAY, "p": PERSON, "n": numbers(2, 999, say_count), "g": THINGS},
    ),
    Template("{p} has {n} {g}.", "{p} hat {n} {g}.", "{p}有{n}{g}。", {"p": PERSON, "n": COUNT, "g": THINGS}),
    Template(
        "{g} costs {n} euros.", "{g} kostet {n} Euro.", "{g}的价格是{n}欧元。", {"g": GOODS, "n": COUNT}
    ),
    Template(
        "{p} is {n} years old.",
        "{p} ist {n} Jahre alt.",
        "{p}今年{n}岁。",
        {"p": PERSON, "n": numbers(2, 99, say_count)},
    ),
    Template(
        "Please open the book at page {n}.",
        "Bitte schlagen Sie das Buch auf Seite {n} auf.",
        "请把书翻到第{n}页。",
        {"n": numbers(1, 999)},
    ),
)

# --- the corpus -------------------------------------------------------------------------------------------


def deal(slot: Slot, random: Random) -> dict[str, list[list[Any]]]:
    """Deal the values of a slot's groups out to the splits; each split gets some of every group."""
    dealt: dict[str, list[list[Any]]] = {split: [] for split in SPLITS}
    for group in slot.groups:
        values = list(group)
        if not slot.dealt:
            for split in SPLITS:
                dealt[split].append(values)
            continue
        random.shuffle(values)
        held = max(1, round(len(values) * HELD_OUT))
        parts = {"valid": values[:held], "test": values[held : 2 * held], "train": values[2 * held :]}
        for split in SPLITS:
            dealt[split].append(parts[split])
    return dealt


def compose(template: Template, values: Mapping[str, Words]) -> Words:
    """Fill a template; a sentence begins with a capital letter, a phrase does not."""
    said = []
    for index, pattern in enumerate((template.en, template.de, template.zh)):
        text = pattern.format(**{name: value[index] for name, value in values.items()})
        said.append(text[0].upper() + text[1:] if pattern.endswith(".") else text)
    return said[0], said[1], said[2]


def generate(sizes: Mapping[str, int], seed: int) -> dict[str, list[Words]]:
    """Make the corpus: split → distinct (English, German, Chinese) sentences.

    Raises ValueError when the templates do not hold so many distinct sentences.
    """
    random = Random(seed)
    values = [{name: deal(slot, random) for name, slot in sorted(item.slots.items())} for item in TEMPLATES]
    corpus = {}
    for split in SPLITS:
        sentences: dict[str, Words] = {}
        for _ in range(50 * sizes[split] + 1000):
            if len(sentences) == sizes[split]:
                break
            index = random.randrange(len(TEMPLATES))
            template = TEMPLATES[index]
            filled = {
                name: template.slots[name].say(random.choice(random.choice(groups[split])))
                for name, groups in values[index].items()
            }
            sentence = compose(template, filled)
            sentences.setdefault(sentence[0], sentence)
        else:
            raise ValueError(f"cannot make {sizes[split]} distinct {split} sentences; ask for fewer")
        corpus[split] = list(sentences.values())
    return corpus


def files(sizes: Mapping[str, int], seed: int) -> Iterator[tuple[str, list[str]]]:
    """Names and lines of the files."""
    for split, sentences in generate(sizes, seed).items():
        for index, language in enumerate(LANGUAGES):
            yield f"{split}.{language}", [sentence[index] for sentence in sentences]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the corpus to a folder."""
    description = "Write a small parallel corpus in English, German and Chinese."
    options = command_line(description, "sentences", 20000, 500, 500).parse_args(arguments)
    return write_files(options.out, files(sizes_of(options), options.seed))


if __name__ == "__main__":
    sys.exit(main())
