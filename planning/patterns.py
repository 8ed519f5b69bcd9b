"""The regular expressions of the rules; all but the first few read text that clauses.plain() made. Data only."""

import re

from planning.lexicon import BODY_PARTS, NUMBERS, PEOPLE, PRONOUNS

NUMBER = r"\d+(?:\.\d+)?|" + "|".join(sorted(NUMBERS, key=len, reverse=True))
PERSON, PART = "|".join(PEOPLE), "|".join(BODY_PARTS)

# ---------------------------------------------------------------- how a prompt is made plain

SPELLINGS = (                                              # (pattern, what it is read as)
    (r"[’‘`]", "'"), (r"…", "."), (r"[&+]", " and "), (r"\(?\b\d+\)", ";"), (r"\s+/\s+", ";"),
    (r"\b(?:please|pls|kindly)\b", " "), (r"\b(?:your|my|our)\b", "the"),
    (r"\b(he|she|it|that|there|who|here)'s\b", r"\1 is"), (r"'re\b", " are"), (r"'ll\b", " will"),
    (r"'d\b", " would"), (r"'ve\b", " have"), (r"\bcan(?:'?t|not)\b", "can not"), (r"\bwon'?t\b", "will not"),
    (r"\bdose?n'?t\b", "does not"), (r"\b(\w+)n't\b|\b(do|does|did|is|was)nt\b", r"\1\2 not"),
    (r"\bx\s?(\d+)\b|\b(\d+)\s?x\b", r"\1\2 times"),
    (r"\b(?:can|could|do|does|did|will)\s+not\s+stop\s+(?=\w+ing\b)", "keeps "),
    (r"[-=]?>|→|\||\b(?:step|move|scene|part)\s+\d+\s*[:.]", ";"),
    (r"[^\w\s.,;:!?'%°•–—-]", " "),                       # no quotes, brackets, emoji
    (rf"\b(?:like|maybe)\s+(?=(?:{NUMBER})\b)", ""), (r"\b(do|does|did|doing)\s+like\b", r"\1"),
    (r"\b(push|sit|pull|chin)\s+ups\b", r"\1-ups"), (r"\bjumping-?jack", "jumping jack"),
    (r"\s*,[\s,]*", " , "), (r"[^\S\n]+", " "),
)
LIST_BEGINS, LIST_NUMBER = re.compile(r"\s*1\.\s"), re.compile(r"(?<!\S)\d+\.\s+(?=[a-z])")      # '1. wave 2. jump'
SETS = re.compile(rf"\b({NUMBER})\s+(?:sets?|series|rounds?)\s+of\s+({NUMBER})\b")

# ---------------------------------------------------------------- durations and counts

ABOUT = r"(?:(?:about|around|roughly|exactly|at\s+least|almost|nearly|up\s+to|another|the\s+(?:first|next|last))\s+)?"
AMOUNT = (rf"(?:(?P<half>half)\s+(?:an?\s+)?|an?\s+(?=se|mi)|"
          rf"(?:an?\s+)?(?P<low>{NUMBER})(?:\s*(?:-|–|to|or)\s*(?P<high>{NUMBER}))?(?P<and_half>\s+and\s+a\s+half)?"
          r"(?:\s+of)?(?:\s+(?:more|full|whole))?[\s-]*)(?P<unit>seconds?|secs?|s|minutes?|mins?)\b(?!\s+\w+ly\b)")
DURATION = re.compile(
    rf"\s*,?\s*\b(?:all\s+)?(?:for|during|lasting|in|within|over)\s+{ABOUT}{AMOUNT}(?:\s+(?:long|straight))?")
BARE_DURATION = re.compile(                                # 'walks five seconds'
    rf"\s*,?\s*(?<!\bafter\s)(?<!\bevery\s)\b{ABOUT}(?=(?:an?\s+)?(?:{NUMBER})\b){AMOUNT}(?:\s+long)?")
DELAYED = re.compile(                                      # 'and after two seconds'
    rf"\s*,?\s*\b(?:and\s+)?(?:then\s+)?after\s+(?P<delay>{ABOUT}{AMOUNT})(?!\s+of\b)\s*,?")
COUNT = re.compile(rf"\b(?:(?P<times>once|twice|thrice)|"
                   rf"(?:an?\s+)?(?P<number>{NUMBER})(?:\s+of)?(?P<words>(?:\s+[a-z-]+){{1,4}}))\b")
ONLY_COUNT = re.compile(rf"(?:once|twice|thrice|(?:{NUMBER}) times?)(?: more| each)?")

# ---------------------------------------------------------------- where one action ends and the next begins

SENTENCE_END = re.compile(r"[!?]+|\.+(?=\s|$|[a-z]{2})|\n+")
ORDER_WORDS = re.compile(
    r"[,;]?\s*(?:\b(?:and|but|only)\s+)?\b(?:then|next(?!\s+to\b)|"
    r"after\s+(?:that|which|this|an?\s+(?:moment|while|pause|bit))|afterwards?|thereafter|followed\s+by|"
    r"finally|lastly|subsequently|later(?:\s+on)?|"
    r"(?:at|in)\s+the\s+(?:very\s+)?end(?!\s+of)|at\s+last|to\s+finish(?:\s+(?:off|up))?|to\s+end|"
    r"before\s+finally)\b\s*,?|"
    r",\s*(?:and\s+)?(?:second|third|fourth|fifth)(?:ly)?\b\s*,?|\s*;\s*")
BEFORE_THAT = re.compile(
    r"[,;]?\s*(?:\b(?:and|but)\s+)?\b(?:before\s+(?:that|this|which|doing\s+(?:so|that|this)))\b\s*,?")
COLON = re.compile(r"\s*:\s*|\s+[–—-]+(?:\s+|$)|\s*—\s*")
CLAUSE_BREAK = re.compile(r"\s*,\s*(?:and\s+|but\s+|so\s+)?|\s+(?:and|but)\s+")
SAME_TIME = re.compile(
    r"\s*,?\s*\b(?:(?:(?:both|all)\s+)?at\s+the\s+same\s+time|simultaneously|at\s+once)\b\s*,?")
MEANWHILE = ("while", "as", "when")
SUBORDINATE = re.compile(
    r"^(?P<word>before|after|when(?:ever)?|once|as\s+soon\s+as|if|until|because|since|while|as|with)\s+"
    r"(?P<inner>[^,]+?)\s*,\s*(?P<outer>.+)$")
WHILE_DOING = re.compile(
    rf"^(?P<word>while)\s+(?P<inner>\w+ing\b.*?)\s+(?P<outer>(?:{'|'.join(PRONOUNS)}|(?:the|a)\s+(?:{PERSON}))\b.+)$")
BEFORE_AFTER = re.compile(r"^(?P<first>.*?)[\s,]+(?P<word>before|after)\s+(?P<second>.+)$")

# ---------------------------------------------------------------- what is no action

OPENING_WORDS = re.compile(
    r"^(?:\s*(?:(?:first(?:ly)?(?:\s+of\s+all)?|second(?:ly)?|third(?:ly)?|to\s+(?:begin|start)(?:\s+with)?|"
    r"initially|and|but|so|now|also|well|ok(?:ay)?|hey|hi|hello|maybe|perhaps|\d+[.)]|[-*•])"
    r"(?=[\s,]|$)|,)\s*)+")
SOMEBODY = rf"(?:him|her|them|(?:an?|the|this|that|one)\s+(?:[a-z-]+\s+){{0,2}}(?:{PERSON}))\b"
PICTURE = r"(?:(?:an?|the|one|this)\s+)?(?:short\s+|long\s+)?(?:video|clip|animation|movie|film|scene|gif|shot|footage)"
REQUESTS = re.compile(                                     # 'can you make a video where', 'have the man'
    rf"^(?:(?:can|could|would|will)\s+(?:(?:you|we)\s+|(?=(?:he|she|they|{SOMEBODY})\b))|"
    r"(?:(?:i|we)\s+would\s+(?:like|love)\s+it|it\s+would\s+be\s+\w+|how\s+about|what)\s+if\s+|"
    r"(?:i|we)\s+(?:just\s+|really\s+)?(?:want|need|would\s+(?:like|love)|wish)\s+(?:to\s+see\s+|you\s+to\s+)?"
    rf"(?=to\b|{SOMEBODY}|{PICTURE}|make|show|have|generate|create|animate|an?\b)|"
    r"(?:make|have|let|get|show|generate|create|render|animate|film|give|see|imagine|picture)\s+(?:me\s+|us\s+)?"
    rf"(?=(?:{SOMEBODY}|{PICTURE}))|"
    rf"{PICTURE}\s*,?\s*(?:should\s+)?(?:of|where|in\s+which|that\s+shows|showing|shows?|with)\s+|"
    r"there\s+(?:is|are)\s+(?=an?\b|one\b)|(?:(?:i|we)\s+(?:can\s+)?|let's\s+|let\s+us\s+)(?:see|imagine|watch)\s+|"
    r"(?:do\s+)?(?:the\s+following|this|these)(?:\s+(?:actions|moves|things))?\s*:)\s*")
NOT_DONE = re.compile(
    r"\s*,?\s*\b(?:without|instead\s+of|rather\s+than)\s+[^,]+|\s*,?\s*\bbut\s+(?:not|never)\s+[^,]+")
OF_SOMEONE_ELSE = re.compile(r"\s*,?\s*\b(?:who|which)\b.*$")                  # 'waves at a friend, who waves back'

# ---------------------------------------------------------------- what was said before

HELD = re.compile(r"(?:holds|keeps)(?: (?:it|them|that|this|there|here|the|pose|position|up|for|like))*")
AGAIN = re.compile(r"repeats\b|does (?:so|it|that|this)\b")
LIMB = re.compile(rf"^(?:(?:up|down)\s+)?((?:the|his|her|their|its|both|one|two)\s+"
                  rf"(?:(?:left|right|other|of\s+(?:his|her|their))\s+)?(?:{PART})s?)\b")
THE_OTHER = re.compile(rf"\bthe\s+other(?:\s+one)?(?=\s+(?:{PART})\b|\s*$)")
SIDE = re.compile(r"\b(left|right)\b")
SIDE_ALONE = re.compile(r"\b(?:with|on)\s+(?:the|his|her|their)\s+(?:left|right)$")
LIMB_ALONE = re.compile(rf"\s*(?:(?:the|his|her|their)\s+)?(?:left|right|both)\s+(?:{PART})s?\s*(?:,|\band\b|$)")
ENDS_IN_LIMB = re.compile(rf"\b(?:left|right|both)\s+(?:{PART})s?$")
EVERYTHING = re.compile(r"\b(?:all|everything|whole|sequence|motions?|movements?|routine|these)\b")
LIMB_MOVES = re.compile(                                   # 'her right arm swings', 'the knees bend'
    rf"(?P<limb>(?:the|his|her|their)\s+(?:(?:left|right|other|two)\s+)?(?:{PART})s?)\s+(?P<verb>[a-z]+)(?P<rest>\b.*)")
MORE = re.compile(rf"\b({NUMBER})\s+more$")                # 'does ten more'
LIMB_OF_A_SIDE = re.compile(r"\b(?:left|right|both)\s+([a-z]+)")
