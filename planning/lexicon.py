"""The words that the rules know: actions with their lengths, verbs in their forms, people, things, numbers. Data only."""
import re

# action: (seconds when no count is said, seconds of one repetition); a name is a verb's base form
VERBS = {
    "balance": (4.0, 3.0), "bend": (2.5, 2.0), "bounce": (3.0, 0.8), "bow": (2.5, 2.5), "box": (3.0, 0.9),
    "breathe": (4.0, 3.0), "catch": (2.0, 1.5), "cheer": (3.0, 1.5), "circle": (3.5, 1.8), "clap": (2.5, 0.6),
    "climb": (4.0, 1.5), "crawl": (4.0, 1.5), "cross": (2.5, 2.0), "curtsy": (2.5, 2.5), "crouch": (2.5, 2.0),
    "dance": (5.0, 4.0), "dodge": (2.0, 1.2), "drink": (3.0, 2.5), "duck": (2.0, 1.5), "exercise": (4.0, 2.0),
    "extend": (2.5, 2.0), "fall": (2.5, 2.5), "flap": (3.0, 0.8), "flex": (2.5, 2.0), "fold": (2.5, 2.0),
    "gesture": (2.5, 2.0), "grab": (2.0, 1.5), "greet": (2.5, 2.0), "hit": (2.0, 1.0), "hold": (3.0, 2.5),
    "hop": (2.5, 0.8), "jog": (4.0, 1.0), "jump": (2.0, 1.2), "kick": (2.0, 1.4), "kneel": (3.0, 3.0),
    "land": (1.5, 1.5), "lean": (2.5, 2.0), "leap": (2.0, 1.4), "lie": (3.5, 3.5), "lift": (2.5, 2.0),
    "look": (2.5, 2.0), "lower": (2.0, 1.5), "lunge": (2.5, 2.0), "march": (4.0, 0.6), "move": (3.0, 1.5),
    "nod": (2.0, 0.7), "open": (2.5, 2.0), "pace": (4.0, 0.7), "pick": (2.5, 2.5), "pivot": (2.0, 1.5),
    "place": (2.5, 2.0), "play": (4.0, 3.0), "point": (2.5, 1.8), "pose": (3.0, 2.5), "pull": (2.5, 1.8),
    "punch": (2.0, 0.9), "push": (2.5, 1.8), "put": (2.5, 2.0), "raise": (2.5, 2.0), "reach": (2.5, 2.0),
    "relax": (3.0, 3.0), "rise": (2.5, 2.0), "roll": (3.0, 2.0), "rotate": (3.0, 2.0), "run": (4.0, 0.5),
    "salute": (2.5, 2.0), "scratch": (2.5, 1.5), "shake": (2.5, 1.0), "shrug": (2.0, 1.4), "sidestep": (3.0, 1.0),
    "sit": (3.0, 3.0), "skip": (3.5, 0.8), "slide": (2.5, 1.5), "spin": (3.0, 2.0), "squat": (2.0, 1.5),
    "stand": (3.0, 2.5), "stay": (3.0, 3.0), "step": (2.0, 0.8), "stomp": (2.5, 0.9), "stop": (1.5, 1.5),
    "stretch": (3.0, 2.5), "stroll": (4.0, 0.7), "stumble": (2.5, 2.0), "sway": (3.5, 1.5), "swim": (4.0, 1.5),
    "swing": (3.0, 1.2), "tap": (2.5, 0.6), "throw": (2.0, 1.8), "tilt": (2.0, 1.5), "touch": (2.5, 2.0),
    "turn": (2.5, 2.0), "twirl": (3.0, 2.0), "twist": (3.0, 1.6), "wait": (3.0, 3.0), "walk": (4.0, 0.7),
    "wave": (2.5, 0.9), "wipe": (2.5, 1.2), "applaud": (2.5, 0.6), "approach": (3.5, 3.0), "begin": (2.5, 2.0),
    "bring": (2.5, 2.0), "carry": (3.5, 3.0), "come": (3.5, 3.0), "continue": (3.0, 2.0), "cover": (2.5, 2.0),
    "go": (3.5, 3.0), "get": (3.0, 2.5), "drop": (2.0, 1.5), "kiss": (2.5, 2.0), "hug": (3.0, 2.5),
    "keep": (3.0, 2.0), "pat": (2.5, 0.8), "rest": (3.0, 3.0), "return": (3.5, 3.0), "rub": (3.0, 1.0),
    "rush": (3.0, 2.0), "shadowbox": (4.0, 0.9), "sneak": (4.0, 1.0), "sprint": (3.0, 0.4), "start": (2.5, 2.0),
    "straighten": (2.0, 2.0), "strike": (2.5, 1.2), "swipe": (2.0, 1.2), "think": (3.0, 3.0), "tiptoe": (4.0, 0.8),
    "pause": (1.5, 1.5), "freeze": (2.0, 2.0), "spread": (2.5, 2.0), "face": (2.0, 2.0), "dive": (2.5, 2.0),
    "conduct": (4.0, 2.0), "jab": (2.0, 0.9), "hook": (2.0, 1.0),
}
MORE_VERBS = """
    explode float fly hover levitate melt teleport vanish
    accuse act aim alternate amble arch arrive attack avoid back beckon beg bid block blow bob bolt boogie bound
    breakdance brush call celebrate charge chase chat chew chop chuck clean clench collapse collect comb confirm
    congratulate cook cough cower crank creep crumple cry cup dash deliver demonstrate dig dip disagree drag draw
    dribble drill drive drum eat elevate embrace enter escape exhale exit faint fetch fight flee flick flinch fling
    follow gallop gasp gaze genuflect giggle glance glare glide grin groove gulp halt hammer hang headbang heave hide
    hike hobble hoist huddle hunch hunker hurl hurry idle imitate indicate inhale inspect introduce jive juggle knock
    laugh lead limp linger listen lob loosen lurch meditate mimic moonwalk mop paddle paint parade parry peel peek
    peer perch phone pitch plant plop polish prance pray preach press propose pummel punt race read reel refuse reject
    ring repeat retreat revolve ride row saunter scamper scream scrub shade shave shift shimmy shiver shoot shout show
    shuffle sidle sigh signal sing sink sip skate sketch ski slam slap sleep sling slow slump smash smile snap snatch
    sneeze sob spar speak spring squeeze squint stagger stamp stare stir stoop stride strut surf surrender sweep swig
    swirl swivel tackle talk taste tense thank thrust tip toss trace trample tremble trip trot trudge tuck tug tumble
    twerk type vacuum vault waltz wander warm wash welcome wheel whirl whistle wiggle windmill wink withdraw wobble
    wrap wrestle wriggle write yank yawn yell
    decline dream fail forget hesitate imagine neglect uncross unfold
    adjust apologize apologise check dab flail floss frown grimace hum miss munch pout pump scroll shush slouch slurp smirk sniff snore
    squirm switch twitch unlock vibe vogue weep whisper
    button cartwheel depart pirouette slip somersault wake
    """.split()                                 # they last UNKNOWN_SECONDS
# the noun behind them is the action
LIGHT_VERBS = ("do", "perform", "make", "take", "execute", "complete", "give", "try", "practice", "practise")
PUNCHES = ("jab", "hook", "cross", "uppercut")           # 'throws' them
# what is counted behind them is another action of theirs: 'throws a jab and a hook', 'walks two steps'
OBJECT_ACTIONS = {"throw": (*PUNCHES, "punch", "kick")} | dict.fromkeys(
    ("walk", "run", "jog", "march", "move", "go", "hop", "jump"), ("step", "pace", "stride", "lap"))
# another verb behind them is the action
ASPECT_VERBS = ("start", "begin", "continue", "keep", "try", "attempt", "proceed", "go", "want", "pretend", "decide",
                "manage", "like", "need", "prepare", "finish", "end", "practice", "practise")
# another verb behind them is not done: 'refuses to jump', 'thinks about jumping'
NOT_DOING = ("refuse", "fail", "forget", "decline", "avoid", "hesitate", "neglect", "imagine", "think", "dream")
# what is done with a limb: 'raises it' is about the limb named before
HANDLING_VERBS = ("raise", "lower", "lift", "put", "bring", "hold", "shake", "swing", "extend", "stretch", "bend",
                  "drop", "straighten", "rotate", "move", "wave", "keep", "cross", "open", "close", "twist", "circle",
                  "spread", "fold", "flap", "flex")
NOUNS = {                                       # actions that are nouns only; every verb above serves as a noun, too
    "jumping jack": (2.0, 1.1), "star jump": (3.0, 1.3), "push-up": (3.0, 2.0), "pushup": (3.0, 2.0),
    "sit-up": (3.0, 2.2), "situp": (3.0, 2.2), "pull-up": (3.0, 2.5), "burpee": (3.5, 3.0), "high knee": (3.0, 0.6),
    "cartwheel": (3.0, 3.0), "somersault": (3.0, 3.0), "pirouette": (3.0, 2.0), "lap": (6.0, 6.0), "rep": (2.0, 2.0),
    "repetition": (2.0, 2.0), "time": (0.0, 0.0), "arm circle": (3.0, 1.2), "calf raise": (3.0, 1.5),
    "chin-up": (3.0, 2.5), "handstand": (4.0, 4.0), "headstand": (4.0, 4.0), "backflip": (2.5, 2.5), "front flip": (2.5, 2.5),
    "side step": (2.5, 1.0), "uppercut": (2.0, 1.0), "plank": (4.0, 4.0), "crunch": (3.0, 2.0), "deadlift": (3.0, 2.5), "handspring": (2.5, 2.5),
    "toe touch": (3.0, 2.0), "flip": (2.5, 2.5), "block": (2.0, 1.5), "plié": (2.5, 2.0), "plie": (2.5, 2.0), "arabesque": (3.0, 3.0),
}
UNKNOWN_SECONDS = (3.0, 1.5)                    # an action in none of the tables
SHORTEST_SECONDS = 1.0                          # below this a motion model has no room to move
MAX_TOTAL_SECONDS = 180.0                       # of one run
MAX_COUNT = 1000                                # of one action; far more than fit into a run
NUMBERS = dict(zip("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
                   "eighteen nineteen".split(), range(1, 20)), couple=2, pair=2, few=3, several=3, many=5, multiple=3)
NUMBER_WORDS = {number: word for word, number in list(NUMBERS.items())[:12]}
TENS = dict(zip("twenty thirty forty fifty sixty seventy eighty ninety".split(), range(20, 100, 10)))
NUMBERS |= TENS
PARTS = {(1, 2): "half", (1, 4): "quarter", (3, 4): "three quarter", (1, 3): "third"}
MULTIPLES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
TIMES = {"once": 1, "twice": 2, "thrice": 3}
ROMAN = dict(zip("II III IV V VI VII VIII IX X XI XII".split(), range(2, 13)))
OPPOSITE = {"left": "right", "right": "left"}
PRONOUNS = ("i", "you", "we", "he", "she", "they", "it")
OBJECT_PRONOUNS = ("him", "her", "them")        # 'make him jump'
PEOPLE = ("person", "man", "woman", "boy", "girl", "guy", "lady", "kid", "child", "dancer", "athlete", "character",
          "figure", "human", "someone", "somebody", "player", "boxer", "actor", "actress", "performer", "adult",
          "teenager", "robot", "student", "teacher", "soldier", "runner", "individual", "model", "subject",
          "gentleman", "people", "men", "women", "hero", "friend", "mother", "father", "mom", "dad", "grandma",
          "grandpa", "grandmother", "grandfather", "sister", "brother", "cook", "clown", "wizard", "knight", "worker",
          "ballerina", "baby", "toddler", "nurse", "doctor", "king", "queen", "prince", "princess", "monk", "chef", "pirate",
          "captain", "astronaut", "mime", "ninja", "samurai", "superhero", "monster", "alien", "zombie", "witch", "bride",
          "dude", "bro", "buddy", "groom", "lad", "lass", "bloke", "chap", "gal", "fella", "homie", "mum", "son", "daughter",
          "wife", "husband", "uncle", "aunt", "cousin", "boss", "neighbour", "neighbor", "detective", "officer", "judge", "coach", "guard", "priest", "bartender", "barista", "mannequin", "avatar")
MANY_PEOPLE = ("people", "men", "women", "dancers", "boys", "girls", "kids", "children")
BODY_PARTS = ("arm", "hand", "leg", "foot", "knee", "head", "elbow", "fist", "shoulder", "hip", "wrist", "ankle",
              "thigh", "palm", "heel", "toe", "finger", "thumb", "biceps", "heels", "toes", "feet", "side")
DETERMINERS = ("a", "an", "the", "this", "that", "my", "our", "another", "one", "two", "three", "some")
# they move by themselves or are moved, and nobody draws them: only the person moves
THINGS = frozenset("""
    alarm audience ball balloon bag basketball bed bell bench bicycle bike bird boat book bottle box broom bus cake candle car cat chair clock
    cloud coffee computer crowd cup curtain cushion desk dog door drum dumbbell fire fish flag flower football fridge glass grass guitar
    hammer hat helicopter hoop horse house kite ladder lamp leaf leaves letter light lightning mirror moon motorcycle music newspaper
    painting paper pen pencil phone piano picture plane plant plate racket radio rain ribbon river rocket rope sandwich sea ship
    skateboard smoke snow sofa song spoon staff stairs stone storm stick suitcase sun sword table tea television thunder
    train tree truck tv umbrella violin wall water weight wheel wind window wine
    """.split())
THING_VERBS = frozenset("""
    begin blow bounce break circle collapse come continue drive drop explode fall float fly go hit hover land lower melt move open pass
    play rise roll rotate shake slide spin start stop sway swing swirl turn vanish
    """.split())                                # ... of things that no table lists
MOVES_BY_ITSELF = ("snow", "rain", "music", "wind", "smoke", "fire", "water", "thunder", "lightning", "leaves")     # named without 'the'
# nouns that name no thing: what a person is or wears, time and space, how something is done
MORE_BODY_PARTS = frozenset("""
    back belly body breast brow cheek chest chin ear eye eyebrow eyes face forehead jaw lap lip mouth muscle neck nose shin spine stomach
    torso trunk waist
    """.split())
NO_THINGS = MORE_BODY_PARTS | frozenset("""
    beard hair coat shirt t-shirt sweater dress suit shoe jacket trousers pants skirt glasses jeans shorts clothes hoodie uniform costume cap boot
    scarf glove outfit tie sleeve collar
    afternoon beat beginning bit day end evening hour instant minute moment morning month night second start time week while year
    air area bottom ceiling sky heaven horizon center centre circle corner direction distance edge floor front ground left line middle opposite
    place position right
    room row scene side space spot square stage street top way world background zigzag
    about-face accident action angle animation applause bite break breath clapping flurry goal offer question seat something anything
    nothing everything t-pose help attempt attitude bunch camera clip combination couple dream effort emotion energy
    exercise expression fashion feeling fun gesture half height joy kind lens length level lot manner mood motion move movement name number
    order others pair pattern performance position pose posture power purpose reason rhythm routine rule sequence series set shape show sign
    sort sound speed stance state story style tempo thing tune turn type version video viewer voice warmup weather workout
    first last next other same whole following few many several one two three best most more little happy sad angry
    """.split())
WAYS = ("away", "overhand", "low", "high", "fast", "hard", "aloud", "open", "apart", "together", "dead", "along", "still", "upright", "like", "than",
        "above", "below", "behind", "beside", "across", "against", "near", "toward", "towards", "inside", "outside", "off", "past",
        "during", "without", "using", "between", "among", "beyond", "upon")
# behind these a phrase is over: 'walks forward | stops'
WAYS_BEHIND = ("forward", "forwards", "backward", "backwards", "sideways", "upwards", "downwards", "up", "down", "around", "round", 
               "away", "back", "off", "aside", "ahead", "over", "out", "straight", "again", "there", "here", "still", "twice", "once", "times", "it", "them",
               "himself", "herself", "themselves", "hello", "hi", "goodbye", "together", "apart", "overhead", "place", "spot", "floor", "ground", "air",
               "seconds", "s")
TAKES_THINGS = ("drink", "eat", "play", "read", "cook", "carry", "catch", "throw", "grab", "paint", "ride", "drive", "juggle", "sip", "hold")
BEHIND_VERB = ("the", "his", "her", "their", "it", "both", "up", "down", "away", "off")     # words that show what stands before to be a verb
TAKES_NOTHING = ("stop", "halt", "pause", "wait", "freeze", "sit", "stand", "kneel", "bow", "nod", "shrug", "crouch")
# 'in a circle' says how one moves, not where
WAYS_TO_MOVE = ("circle", "line", "row", "square", "zigzag", "way", "manner", "fashion", "spot", "time")
MEANWHILE = ("while", "as", "when")
TITLES = ("combo", "sequence", "routine", "flow", "workout", "circuit", "drill")            # 'boxing combo: jab, cross'
CONJUNCTIONS = ("and", "or", "but", "while", "as", "before", "after", "when", "because", "until", "if", "who", "that", "which")
POSSESSIVES = ("his", "her", "their", "its", "your")
RELATIVES = ("who", "that", "which")
AUXILIARIES = ("is", "are", "am", "was", "were", "be", "been", "being", "has", "have", "had", "will", "shall",
               "should", "must", "can", "could", "may", "might", "would", "ought")
ASKED = ("asked", "told", "supposed", "about", "ready", "able", "seen", "allowed")     # 'is asked to jump'
# and words that end in -ly
ADVERBS = ("just", "only", "neither", "now", "also", "again", "both", "once", "still", "straight", "immediately", "there", "all",
           "first", "almost", "even", "always", "then", "instead")
PREPOSITIONS = ("in", "at", "on", "of", "to", "into", "onto", "with", "for", "from", "by", "around", "through",
                "over", "under")
# they open a sentence about the place
SCENE_PREPOSITIONS = ("in", "at", "on", "inside", "outside", "under", "near", "with", "from", "during", "against")
STATES = ("hears", "hearing", "sees", "seeing", "notices", "noticing", "remembers", "realizes", "realises", "knows", "wears", "wearing", "feels", "feeling", "seems", "seeming", "has", "having", "is", "being")  # nothing is done
SPEECH = ("says", "saying", "tells", "asks", "exclaims", "shouts", "yells")                                 # ... by these alone
# they end in -s as 'walks' does
NOT_VERBS = ("backwards", "forwards", "sideways", "upwards", "downwards", "towards", "across", "his", "its", "this",
             "always", "hers", "ours", "besides", "as", "is", "was", "has", "us", "perhaps", "indoors", "outdoors",
             "arms", "legs", "hands", "knees", "feet", "hips", "shoulders", "fists", "elbows", "fingers", "toes",
             "heels", "palms", "eyes", "times", "seconds", "clothes", "glasses", "jeans", "shorts",
             "sign", "peace", "tired", "waist", "files")
NOT_GERUNDS = ("morning", "evening", "something", "nothing", "anything", "everything", "during", "building", "ceiling",
               "wedding", "clothing", "string", "spring", "bring", "swing", "according")
FUNCTION_WORDS = set("""
    a an the and then with to of his her their on in at by from into for while as up down left right forward backward
    forwards backwards around over under next after before finally twice times arm arms hand hands leg legs foot feet
    knee knees head body person man woman someone he she they it is are quickly slowly both side sideways out off both
    seconds second once
    """.split())
FOREIGN_WORDS = set("""
    der die das und eine ein einer einem dann mit hebt geht springt winkt nach auf zwei mal le la les une un et puis
    avec homme femme personne saute marche deux fois droite gauche du des dans elle il el los las una y luego con
    hombre mujer persona salta camina dos veces derecha izquierda mano despues ella uno e poi uomo donna cammina volte
    destra sinistra alza depois um uma duas vezes pessoa een en het daarna dan twee keer zwaait loopt mannen och sedan
    hoppar go czlowiek idzie ona potem
    """.split()) - FUNCTION_WORDS - {"go"}
IRREGULAR_PAST = dict(
    sit="sat", stand="stood", run="ran", throw="threw", swing="swung", bend="bent", kneel="knelt", lie="lay",
    take="took", do="did", make="made", put="put", hit="hit", spin="spun", swim="swam", go="went", come="came",
    get="got", hold="held", keep="kept", begin="began", catch="caught", drink="drank", fall="fell", rise="rose",
    shake="shook", slide="slid", strike="struck", think="thought", leap="leapt", bring="brought", give="gave",
    sing="sang", read="read", write="wrote", fight="fought", ride="rode", drive="drove", draw="drew", eat="ate",
    blow="blew", sweep="swept", sleep="slept", speak="spoke", shoot="shot", spring="sprang", sink="sank",
    sling="slung", withdraw="withdrew", flee="fled", dig="dug", spread="spread", creep="crept", forget="forgot")
BASE = {base: base for base in (*VERBS, *LIGHT_VERBS, *MORE_VERBS, *ASPECT_VERBS)}   # every form of a verb -> its base


def third_person(base: str) -> str:
    """walk -> walks, reach -> reaches, carry -> carries."""
    if base.endswith(("s", "x", "z", "ch", "sh", "o")):
        return base + "es"
    return base[:-1] + "ies" if re.search(r"[^aeiou]y$", base) else base + "s"


def gerund(base: str) -> str:
    """walk -> walking, wave -> waving, squat -> squatting."""
    if base == "lie":
        return "lying"
    if base.endswith("e") and not base.endswith(("ee", "oe")):
        return base[:-1] + "ing"
    one_syllable = len(re.findall(r"[aeiou]+", base.replace("qu", "q"))) == 1
    doubles = one_syllable and re.search(r"(?:^|[^aeiou])[aeiou][^aeiouwxy]$", base.replace("qu", "q"))
    return base + (base[-1] if doubles else "") + "ing"


def past(base: str) -> str:
    """walk -> walked, wave -> waved, squat -> squatted, throw -> threw."""
    if base in IRREGULAR_PAST:
        return IRREGULAR_PAST[base]
    if base.endswith("e"):
        return base + "d"
    return base[:-1] + "ied" if re.search(r"[^aeiou]y$", base) else gerund(base).removesuffix("ing") + "ed"


THIRD = {third_person(base): base for base in BASE}
GERUND = {gerund(base): base for base in BASE} | {"beginning": "begin", "seated": "sit", "sidestepping": "sidestep", "forgetting": "forget"}
PAST = {past(base): base for base in BASE if past(base) != base}
PARTICIPLES = PAST | dict(done="do", taken="take", thrown="throw", given="give", shaken="shake", drawn="draw", written="write", eaten="eat",
                          drunk="drink", put="put", hit="hit", read="read", spread="spread")
FORMS = (THIRD, GERUND, BASE, PAST)
