"""What the demo model is taught: concepts, the words for them, and what else lies about in a scene.

A row of CONCEPTS is: name | other words for it | emoji showing it | emoji and colour pairs (colourable only).
Plurals are made by `plural`. A colourable concept has emoji whose main colour is named; the generator repaints
those in any colour of PALETTE, so "red car" and "blue car" are different phrases.
"""
from dataclasses import dataclass, field

# name: (hue in degrees, saturation factor, value factor, value floor)
PALETTE = {
    "red": (2, 1.0, 1.0, 0), "orange": (28, 1.0, 1.05, 0), "yellow": (50, 1.0, 1.15, 0), "green": (125, 0.9, 0.9, 0),
    "blue": (215, 1.0, 1.0, 0), "purple": (277, 0.9, 0.9, 0), "pink": (335, 0.5, 1.2, 0.2),
    "brown": (22, 0.75, 0.55, 0), "black": (0, 0.05, 0.28, 0), "white": (0, 0.04, 0.35, 0.65),
    "gray": (0, 0.04, 0.65, 0.1),
}

_TABLE = """
dog | puppy | 🐶🐕🐩🦮
cat | kitten,kitty | 🐱🐈😺
horse | pony | 🐴🐎
cow | cattle | 🐮🐄
pig | piglet | 🐷🐖
rabbit | bunny | 🐰🐇
elephant | | 🐘
giraffe | | 🦒
monkey | | 🐵🐒
bird | | 🐦 | 🐦blue
duck | | 🦆
chicken | hen,rooster | 🐔🐓
penguin | | 🐧
owl | | 🦉
fish | goldfish | 🐟🐠 | 🐟blue 🐠yellow
turtle | tortoise | 🐢
frog | | 🐸
butterfly | | 🦋 | 🦋blue
bee | bumblebee | 🐝
snail | | 🐌
apple | | | 🍎red 🍏green
banana | | 🍌
orange | orange fruit | 🍊
lemon | | 🍋
grapes | bunch of grapes | 🍇
strawberry | | 🍓
cherry | cherries | 🍒
watermelon | watermelon slice | 🍉
pineapple | | 🍍
carrot | | 🥕
mushroom | toadstool | 🍄
pizza | pizza slice,slice of pizza | 🍕
hamburger | burger | 🍔
donut | doughnut | 🍩
ice cream | ice cream cone | 🍦🍨
cake | birthday cake | 🎂🍰
car | automobile | | 🚗red 🚙blue
bus | | 🚌🚍
truck | lorry | 🚚🚛
train | locomotive | 🚂🚆
bicycle | bike | 🚲
airplane | plane,aeroplane | ✈🛩🛫
helicopter | | 🚁
boat | sailboat,ship | ⛵🚤
rocket | spaceship | 🚀
house | home | 🏠🏡
tree | | 🌳🌲
flower | blossom | | 🌷pink 🌹red 🌼yellow 🌸pink
sun | | ☀🌞
cactus | | 🌵
balloon | | | 🎈red
umbrella | | | ☂purple
clock | alarm clock | ⏰🕒
book | | | 📕red 📗green 📘blue 📙orange
key | | 🔑🗝
scissors | pair of scissors | ✂
guitar | | 🎸
chair | | 🪑
shirt | t-shirt | | 👕blue
shoe | sneaker | 👟👞
heart | | | ❤red 💙blue 💚green 💛yellow 💜purple 🧡orange
star | | | ⭐yellow
circle | disc | | 🔴red 🔵blue 🟢green 🟡yellow 🟣purple 🟠orange
square | | | 🟥red 🟦blue 🟩green 🟨yellow 🟪purple 🟧orange
triangle | | | 🔺red
"""

# Emoji that lie about but have no name of their own in training; each may still be shown by an example box.
DISTRACTORS = ("🦊🐻🐼🐨🐯🦁🐺🦝🦓🐗🐪🦘🐿🦔🐍🦎🐊🐳🐬🐙🦀🦐🦞🐞🦂🕷🍐🍑🥝🥥🥑🍆🌽🌶🥦🥒🧄🥐🥨🧀🍖🍗🥩🌮🌯🥗🍿🍙🍣🍪🍫🍬🍭"
               "☕🍺🍷🥤🛴🛵🏍🚜🛶⚓🗿🗽⛲🎡🌙⚡❄🔥💧🌈⛄🎁🎃🎄🏆⚽🏀🏈🎾🎱🥊🎯🎮🎲🧩🎨🎻🎺🥁🎷📱💻📷📺📞🔦💡🔋🔨🔧🪛🧲🔩"
               "🧯🛒🛏🚪🧸🖼👓👒🎩👑👜🎒💍💎🔔🔒📎📌✏🖍📦📫🧪🔭🧭⏳🩹🪣🧹🧺🧻🪥🧽")

# Phrases for things that are never drawn by name: they train presence.
ABSENT = """zebra|bear|wolf|camel|kangaroo|whale|shark|lizard|goat|eagle|mosquito|person|man|woman|child|baby|pear|
peach|potato|onion|garlic|sandwich|soup|bottle|glass of water|cup|fork|knife|spoon|plate|table|sofa|bed|lamp|
motorcycle|tractor|ambulance|police car|traffic light|road|bridge|mountain|river|cloud|moon|snowflake|phone|laptop|camera|
television|keyboard|drum|violin|piano|ball|basketball|hat|glasses|watch|ring|bag|backpack|pencil|pen|paper|hammer|ladder|
bucket|candle|basket|pillow|toothbrush|soap|flag|kite|crown|tent|castle|statue|ladybug|dinosaur|unicorn|robot|ghost"""

# Never ask for the first in a scene that shows the second: people would not agree on the answer.
_UNCLEAR = {
    "bird": ["duck", "chicken", "penguin", "owl"], "car": ["🚜"], "boat": ["🛶"], "house": ["🗽"],
    "circle": list("⚽🏀🎾🎱🎯🍪🍩🕒🥥💍") + ["donut", "clock", "sun", "orange"], "square": list("🎲🧩🖼📦📺🎁🧻"),
    "orange": ["🎃", "🏀", "🍑"], "tree": ["🎄"], "star": ["🌟"], "bicycle": ["🛴", "🛵", "🏍"], "chicken": ["🍗"],
    "hamburger": ["🥐"], "cake": ["🍪", "🍫"], "shoe": ["👒"], "guitar": ["🎻"], "triangle": ["pizza", "watermelon"],
    "bear": ["🐻", "🐼", "🐨", "🧸"],
    "wolf": ["🐺", "🦊"], "zebra": ["🦓"], "camel": ["🐪"], "kangaroo": ["🦘"], "whale": ["🐳"], "lizard": ["🦎", "🐊"],
    "pear": ["🍐"], "peach": ["🍑"], "garlic": ["🧄"], "sandwich": ["🌮", "🌯", "hamburger"], "bottle": ["🍺", "🍷"],
    "glass of water": ["🥤", "🍷"], "cup": ["☕", "🥤", "🍺", "🏆"], "bed": ["🛏"], "lamp": ["💡", "🔦"],
    "motorcycle": ["🏍", "🛵"], "tractor": ["🚜"], "moon": ["🌙"], "snowflake": ["❄"], "phone": ["📱", "📞"],
    "laptop": ["💻"], "camera": ["📷"], "television": ["📺"], "keyboard": ["💻"], "drum": ["🥁"], "violin": ["🎻"],
    "ball": list("⚽🏀🏈🎾🎱") + ["circle"], "basketball": ["🏀"], "hat": ["👒", "🎩", "👑"], "glasses": ["👓"],
    "ring": ["💍"], "bag": ["👜", "🎒", "🛒"], "backpack": ["🎒"], "pencil": ["✏", "🖍"], "pen": ["✏", "🖍"],
    "hammer": ["🔨"], "bucket": ["🪣"], "basket": ["🧺"], "toothbrush": ["🪥"], "soap": ["🧽"], "crown": ["👑"],
    "candle": ["cake"], "ladybug": ["🐞"], "ghost": ["🎃"], "statue": ["🗿", "🗽"], "eagle": ["bird"],
    "watch": ["clock"], "flag": ["boat"], "paper": ["📦", "🧻", "book"],
    "castle": ["house"], "road": ["car"], "robot": ["🎮"], "shark": ["🐬", "🐳"], "potato": ["🥥", "🥝"],
}


@dataclass
class Concept:
    name: str
    words: list                                       # phrases that mean it, singular and plural
    emoji: list                                       # one glyph each
    colours: dict = field(default_factory=dict)       # glyph: its native colour; empty if it is not colourable


def plural(noun):
    """The plural of an English noun phrase whose last word is the head ("slice of pizza" is left alone)."""
    if " of " in noun:
        return None
    irregular = {"fish": "fish", "goldfish": "goldfish", "cattle": "cattle", "grapes": "grapes", "scissors": "scissors",
                 "cherries": "cherries", "bunny": "bunnies", "puppy": "puppies", "kitty": "kitties", "pony": "ponies",
                 "strawberry": "strawberries", "cherry": "cherries", "butterfly": "butterflies", "lorry": "lorries",
                 "cactus": "cacti", "aircraft": "aircraft"}
    if noun in irregular:
        return irregular[noun]
    return noun + ("es" if noun.endswith(("s", "x", "sh", "ch", "ato")) else "s")


def _glyphs(text):
    return [c for c in text if c not in " \ufe0f"]


def _parse(row):
    name, other, plain, pairs = ([c.strip() for c in row.split("|")] + [""])[:4]
    words = [name] + [w for w in other.split(",") if w]
    words += [p for w in words if (p := plural(w)) and p not in words]
    colours = {p[0]: p[1:].lstrip("\ufe0f") for p in pairs.split()}
    return Concept(name, words, _glyphs(plain) + [g for g in colours if g not in plain], colours)


CONCEPTS = {c.name: c for c in map(_parse, _TABLE.strip().split("\n"))}
NAMES = list(CONCEPTS)
SHAPES = ("circle", "square", "triangle", "star", "heart")      # also drawn without a font
ABSENT = [w.strip() for w in ABSENT.split("|")]


def unclear(name, shown):
    """True if nobody can say whether `name` is in a scene that shows these concepts and emoji."""
    return any(u in shown for u in _UNCLEAR.get(name, ()))


def vocabulary():
    """What a checkpoint knows, as its vocabulary.json tells `sam3 info` and the page; plurals go without saying."""
    words = {n: [w for w in c.words[1:] if w not in map(plural, c.words)] for n, c in CONCEPTS.items()}
    return dict(concepts=words, colours=list(PALETTE), coloured=[n for n, c in CONCEPTS.items() if c.colours])
