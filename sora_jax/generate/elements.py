"""What a prompt speaks of: objects, actions, environment and the rest, by rules and word lists.

Nothing is learned and nothing is guessed: a word that no rule places is listed as unknown.
"""

import re

ELEMENTS = (
    *("objects", "actions", "environment", "style", "mood"),
    *("camera", "lighting", "perspective", "pacing", "unknown"),
)
_PHRASES = {  # longest first where one begins another: see `_phrases`
    "camera": "camera pans left|camera pans right|camera pans|camera tilts up|camera tilts down|"
    "camera zooms in|camera zooms out|camera panning left|camera panning right|"
    "camera zooming in|camera zooming out|camera follows|camera circles|still camera|"
    "handheld camera|handheld|tracking shot|dolly shot|crane shot|time lapse|timelapse",
    "lighting": "by day|in daylight|daylight|at dusk|dusk|at dawn|at night|night|golden hour|"
    "golden light|sunset|sunrise|moonlight|moonlit|candlelight|neon light|neon|backlit|sunlit|"
    "overcast|soft light|hard light|dim|bright",
    "perspective": "close-up|close up|closeup|wide shot|wide angle|low angle|high angle|"
    "dutch angle|bird's eye view|aerial view|aerial|first person|over the shoulder|macro",
    "style": "black and white|film noir|noir|cartoon|anime|watercolour|watercolor|oil painting|"
    "photorealistic|realistic|cinematic|cyberpunk|pixel art|claymation|stop motion|sketch|"
    "outlined|flat|vintage|retro|documentary|3d render|pastel colours|vivid colours|vivid",
    "mood": "happy|joyful|moody|sad|melancholic|calm|peaceful|serene|tense|scary|eerie|mysterious|"
    "romantic|dramatic|epic|playful|lonely|cosy|cozy|gloomy",
    "pacing": "slow motion|in slow motion|slowly|slow|quickly|fast|rapidly|gradually|suddenly|"
    "gently|hurriedly",
}
_OF_THINGS = ("style", "mood", "lighting", "pacing")  # may stand before what they belong to
_VERBS = set(
    "move go stay grow get bounce spin rotate turn run walk jump fall fly swim drive ride dance "
    "sit stand lie roll slide drop rise float drift chase follow play eat drink look watch hold "
    "carry throw catch open close climb crawl shake wave sing talk smile laugh cry burn melt "
    "explode flow pour splash collide hit kick push pull orbit circle zoom cross pass enter leave "
    "appear vanish change become glow shine blink sway swing race march sail hop crash land".split()
)
_OF_ACTIONS = set(  # words that belong to the action before them
    "left right up down forward backward forwards backwards away around together apart still "
    "bigger smaller circles upwards downwards over off".split()
)
_PLACES = set(
    "street city beach forest desert mountain mountains ocean sea sky space room kitchen garden "
    "park field river lake road snow rain jungle village station castle background ground".split()
)
_NUMBERS = set("one two three four five some many several".split())
_SIDES = {"left", "right", "top", "bottom", "middle", "foreground"}
_PREPOSITIONS = set(
    "on in at under over near through across along behind beside above below into inside outside "
    "onto by from between against around".split()
)
_SMALL = set(
    "and or then while with of to is are does do not it its their his her that which who as after "
    "before seconds second for but there".split()
)
_IRREGULAR = {"ran": "run", "running": "run", "sitting": "sit", "lying": "lie", "hitting": "hit"}


def read_prompt(text: str) -> dict[str, list[str]]:
    """The elements of a prompt, each a list of what was found, in the order of the text."""
    words = re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text.lower())
    found: dict[str, list[str]] = {name: [] for name in ELEMENTS}
    place, has_article = 0, False
    preposition: int | None = None  # where the one is that leads to what comes next
    while place < len(words):
        word, start = words[place], place
        kind, length = _phrase(words, place)
        if kind:
            found[kind].append(" ".join(words[place : place + length]))
            place += length
            if kind not in _OF_THINGS:
                preposition, has_article = None, False
            continue
        if word in ("a", "an", "the"):
            place, has_article = place + 1, True
            continue
        if word in _PREPOSITIONS:
            place, preposition, has_article = place + 1, start, False
            continue
        if _is_verb(word) or (word == "not" and words[place + 1 : place + 2]):
            place = _action_end(words, place + 1 + (word == "not"))
            kind = "actions"
        elif word in _SMALL or word.isdigit():
            place += 1
        else:
            place = _noun_end(words, place)
            is_thing = has_article or word in _NUMBERS or _begins_verb(words, place)
            if (
                word in _SIDES
                and place == start + 1
                and preposition is not None
                and found["objects"]
            ):
                found["objects"][-1] += " " + " ".join(words[preposition:place])
                continue
            is_place = preposition is not None or words[place - 1] in _PLACES
            kind = "environment" if is_place else "objects" if is_thing else "unknown"
        if kind:
            found[kind].append(" ".join(words[start:place]))
        preposition, has_article = None, False
    return found


def _begins_verb(words: list[str], place: int) -> bool:
    return place < len(words) and _is_verb(words[place])


def _action_end(words: list[str], place: int) -> int:
    """Where the words that belong to a verb end."""
    while place < len(words):
        if words[place : place + 2] == ["in", "circles"]:
            place += 2
        elif words[place] in _OF_ACTIONS:
            place += 1
        else:
            break
    return place


def _phrase(words: list[str], place: int) -> tuple[str, int]:
    """The kind of a phrase that begins at `place`, and how many words it has; ("", 0) for none."""
    best = "", 0
    for kind, text in _PHRASES.items():
        for phrase in text.split("|"):
            parts = phrase.split()
            if words[place : place + len(parts)] == parts and len(parts) > best[1]:
                best = kind, len(parts)
    return best


def _noun_end(words: list[str], place: int) -> int:
    """Where the words that name one thing end."""
    stop = place + 1
    while stop < len(words):
        word = words[stop]
        if word in _PREPOSITIONS | _SMALL | {"a", "an", "the"} or _is_verb(word):
            break
        if _phrase(words, stop)[0]:
            break
        stop += 1
    return stop


def _is_verb(word: str) -> bool:
    """Whether it is a form in -s or -ing of a known verb; a bare stem may be a noun."""
    if word in _IRREGULAR:
        return True
    stems = []
    if word.endswith("s"):
        stems = [word[:-1], word[:-2]]
    elif word.endswith("ing"):
        stems = [word[:-3], word[:-3] + "e", word[:-4]]
    return any(stem in _VERBS for stem in stems)
