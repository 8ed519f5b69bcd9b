"""The regular expressions that the rules read a prompt with. Data only.

In those that are laid out over several lines (re.VERBOSE) spaces mean nothing: a space of the prompt is `\\s` or `[ ]`.
"""
import re

from planning.lexicon import (BASE, BODY_PARTS, MORE_BODY_PARTS, MULTIPLES, NOUNS, NUMBERS, PEOPLE, PRONOUNS, PUNCHES, ROMAN, TENS, THINGS,
                              third_person, THIRD, TIMES, VERBS)

NUMBER = r"\d+(?:\.\d+)?|" + "|".join(sorted(NUMBERS, key=len, reverse=True))
ONES, OFTEN = "|".join(list(NUMBERS)[:9]), "|".join(TIMES)
PERSON, PART, PRONOUN = "|".join(PEOPLE), "|".join(BODY_PARTS), "|".join(PRONOUNS)
UNIT = r"(?:milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|hours?|hrs?|days?|weeks?)"
LIMBS = rf"(?:{PART})s?"
DONE = "|".join(sorted({*BASE, *THIRD}, key=len, reverse=True))
WHOSE = r"(?:the|his|her|their)"
SOMEBODY = rf"(?:him|her|them|(?:an?|the|this|that|one)\s+(?:[a-z-]+\s+){{0,2}}(?:{PERSON}))\b"
# ---------------------------------------------------------------- how a prompt is made plain

SPELLINGS = (                                              # (pattern, what it is read as), one after another
    (r"</?[a-z][^<>]*>", " "),                                                          # '<b>'
    (r"\(([^()]*?):\s*\d+(?:\.\d+)?\)", r"\1"),                                         # '(wave:1.3)'
    (r"\b(?:masterpiece|(?:best|high)\s+quality|(?:highly|ultra|extremely)[\s-]detailed|photorealistic|[48]k|u?hd)\b", " "),
    (r"#(?=\d+\s*(?:times|x)\b)", ""), (r"#\d+\b", " ; "),                              # '#3 times', '#1'
    (r"\b(?:an?\s+)?baker['’]?s\s+dozen\b(?:\s+of\b)?", "13"), (r"\b(?:an?\s+)?score\s+of\s+(?=times\b)", "20 "),
    (r"#(\w+)", r" ; \1 ; "),                                                           # '#jump #wave'
    (r"(?<=\d),(?=\d{3}\b)", ""),                                                       # '1,000'
    (rf"(?<=\d),(?=\d{{1,2}}\s*{UNIT}\b)", "."),                                        # '2,5 seconds'
    (r"\b(\d+)m\s?(\d+)s\b", r"\1 minutes \2 s"),
    (r"(?<![\d.])\.(?=\d)", "0."),                                                      # '.5'
    (rf"(?<=\d)(?={UNIT}\b)", " "),                                                     # '3s'
    (r"(?<![\d:])\d{1,2}:\d{2}(?![\d:])", ";"),                                         # '0:03'
    (rf"\b(?:(three)\s+quarters|(?:an?\s+|one\s+)?quarter)\s+(?:of\s+)?an?\s+(?={UNIT}\b)",
     lambda match: "0.75 " if match[1] else "0.25 "),
    (rf"\bsome\s+(?={UNIT}\b)", "few "),
    (r"\bfor\s+the\s+(?:first|next|last|final|following)\s+(?=(?:second|minute)\b)", "for 1 "),
    (rf"\bfor\s+(?:another\s+|(?:the\s+)?(?:first|next|last|final|following|remaining|other)\s+)?(?:{NUMBER})(?=\s*(?:[,;!\n]|\.(?!\d)|$)|\s+(?:{PRONOUN}|the|an?|then|and(?!\s+(?:an?\s+)?(?:half|[\d.])))\b)",  # 'for the next 2 she claps'
     lambda match: f"{match[0]} seconds"),
    (rf"\b({ONES}|ten)\s+point\s+({ONES})\b", lambda match: f"{NUMBERS[match[1]]}.{NUMBERS[match[2]]}"),
    (rf"\busing\s+(?=(?:(?:only|just|both|the|my|your|his|her|their|one|left|right)\s+)+{LIMBS}\b)", "with "),
    (r"\b(?:one|each|both|all|some)\s+of\s+(?:them|us|you)\b", "they"),
    (r"[’‘`]", "'"), (r"…", "."), (r"[&+]", " and "), (r"\bw/(?=\s*\w)", "with "), (r"\s[•▪●‣·]\s", " ; "),
    (r"\b(?:rigth|rihgt|rgiht|rght|righ)\b", "right"), (r"\b(?:letf|lfet|elft|leftt)\b", "left"),
    (r"\b(?:tree|thre)\s+(?=times\b)", "three "), (r"\b(and|,)\s+than\b", r"\1 then"),
    (r"\b([a-z]+s)\s*(?:\(x?(\d+)\)|:\s*(\d+)(?=\s*(?:[,;.]|$)))", r"\1 \2\3 times"),                              # 'squats (5)', 'jumps: 3'
    (rf"\ban?\s+(double|triple)\s+({'|'.join(VERBS)})\b", lambda match: f"{dict(double='two', triple='three')[match[1]]} {third_person(match[2])}"),
    (r"(?:^|(?<=[.;!?,\n]))\s*(?:first|second|third|fourth|fifth|next|then|last|finally)\s*:", " ; "),
    (r"(?<=\w)\s+'?n'?\s+(?=\w)", " and "),
    (r"\b(gim|lem)me\b", lambda match: dict(gim="give me", lem="let me")[match[1]]),
    (r"\b(?:gonna|gotta|wanna)\b", "to"),
    (r"\b(?:on\s+your\s+marks?|ready)\s*,?\s*(?:get\s+)?(?:set|steady)\s*,?\s*go\b\s*[:!,.]*", " "),
    (rf"\b(?:make|let|have)\s+(?:it|({SOMEBODY}))(?:\s+do)?\s*:", lambda match: match[1] or " "),                    # 'make it: walk, turn'
    (rf"\b(?:show|give)\s+(?:me|us)\s+(?=(?:{NUMBER}|an?|some)\s)", "do "),
    (rf"\bha(s|ve|d|ving)\s+(?=an?\s+(?:[a-z]+\s+)?(?:seat|{'|'.join(BASE.keys() - THINGS)})\b)",                     # 'has a sip'
     lambda match: dict(s="takes ", ve="take ", d="took ", ving="taking ")[match[1]]),
    (r"\bur\b", "the"), (r"\bu\b", "you"), (r"\bda\b", "the"), (r"\b(?:i|I)'m\b", "i am"),
    (r"\b(?:lol|lmao|omg|fr|ngl|tbh|haha+)\b", " "),
    (r"\b(?:prson|persn|peson|perosn|pesron)\b", "person"), (r"\b(?:wman|womn|wonan|woamn)\b", "woman"), (r"\bwit\b", "with"),
    (rf"\brite\b(?=\s+{LIMBS}\b)", "right"), (r"\b1\s?(girl|boy|man|woman)\b", r"a \1"), (r"\b(\d)\s?(girl|boy)s\b", r"\1 \2s"),
    (r"\(?\b(?:\d+|[a-h]|i{1,3}|iv|v)\)", ";"),                                         # '2)', 'b)'
    (r"\s+/\s+", ";"),
    (r"\b(?:please|pls|plz|kindly)\b|\bthx\b|(?:^|(?<=[.,!?]\s))thanks\b(?=\s*(?:[!.,]|$))", " "),
    (r"(?:^|(?<=[.;\n]))\s*(?:person|subject|character|actions?|motion|movement|prompt|description)\s*:", " "),
    (r"\b(?:your|my|our)\b", "the"),
    (r"\b(he|she|it|that|there|who|here)'s\b", r"\1 is"),
    (r"'re\b", " are"), (r"'ll\b", " will"), (r"'d\b", " would"), (r"'ve\b", " have"),
    (r"\bcan(?:'?t|not)\b", "can not"), (r"\bwon'?t\b", "will not"), (r"\bdose?n'?t\b", "does not"),
    (r"\b(\w+)n't\b|\b(do|does|did|is|was)nt\b", r"\1\2 not"),
    (rf"\b(\d+)\s?[x×]\s+(?=(?:[a-z-]+|(?:{'|'.join(name.split()[0] for name in NOUNS if ' ' in name)})\s+[a-z]+)s\b)", r"\1 "),          # '3x squats'
    (r"\bx\s?(\d+)\b|\b(\d+)\s?x\b|(?<=\w) ?[*×] ?(\d+)\b|\b(\d+) ?[*×](?= ?[a-z])", r" \1\2\3\4 times "),
    (r"\bminus\s+(?=\d|\w+\s+(?:times|sec|min|hour))", "-"),
    (r"\b(?:(?:can|could|do|does|did|will)\s+not|(?:(?:will|must|should|can|could|does|do|did)\s+)?never)\s+(?:stop(?:s|ped)?|quits?|ceases?)\s+(?=\w+ing\b)", "keeps "),
    (rf"[,;]?\s*(?:\b(?:and|but|before)\s+)?\b(?<!like\s)(?<!with\s)(?<!to\s)(?<!at\s)({PRONOUN}|(?:an?|the)\s+(?:[a-z-]+\s+){{0,2}}(?:{PERSON}))\s+"       # 'she then waves'
     r"(?:then|finally|lastly|subsequently|later(?:\s+on)?|afterwards?)\s+(?=[a-z])", r" ; \1 "),
    (r"\btill\b", "until"),
    (rf"(\b(?:and|then|{PRONOUN}|{PERSON})\s|,\s*)leav(es?|ing)\b(?:\s+the\s+(?:room|scene|picture|stage|place|house|building))?"
     r"(?=\s*(?:$|[.,;!?]|and\b|then\b))", lambda match: f"{match[1]}walk{dict(es='s').get(match[2], match[2].strip('e'))} away"),
    (r"[-=~]*>|[→⇒⇨⟶⟹➔➜➝➞]|\|", ";"), (rf"\b(?:step|move|scene|part)\s+(?:\d+\s*[:.]|(?:{ONES})\s*:)", ";"),
    (rf"(?:^|(?<=[,;.\n]))\s*(?:(?:the\s+)?(?:first|next|last|final|then)\s+)?((?:{NUMBER})\s*{UNIT})\s*:\s*([^,;.\n]+)", r" ; \2 for \1 "),          # '3 s: clap'
    (r"[^\w\s.,;:!?'%°•–—-]", " "),                                                     # no quotes, brackets, emoji
    (rf"\b({'|'.join(PUNCHES)})\s+(?=(?:(?:left|right)\s+)?(?:{'|'.join(PUNCHES)})\b)", r"\1 , "),          # 'left jab right cross'
    (rf"\b(?:every|each)\s+(?:action|move|movement|one|exercise|pose)\s+(?:lasts|takes|for|lasting)\s+((?:{NUMBER})\s*{UNIT})\s*[:,]\s*([^.;\n]+)", r"\2 , \1 each"),
    (rf"\b(?:like|maybe)\s+(?=(?:{NUMBER})\b)", ""), (r"\b(do|does|did|doing)\s+like\b", r"\1"),
    (rf"\b(?:(?:do|does|did)\s+)?not\s+(?:only|just|merely)\s+(?:(?:do|does|did)\s+)?([^.;\n]+?)\s*(?:,?\s*\bbut\s+|,\s*(?=(?:{PRONOUN})\s+also\b))", r"\1 and "),       # 'not only waves but also claps'
    (rf"\b(?P<who>{PRONOUN}|(?:an?|the)\s+(?:[a-z-]+\s+){{0,2}}(?:{PERSON}))\s+(?:is|are|am|was|feels?|gets?)\s+so\s+[a-z]+\s+(?:that\s+)?(?:{PRONOUN})\s+",
     r"\g<who> "),                                                                       # 'she is so happy that she jumps'
    (rf"(?:^|(?<=[.;!?\n]))\s*after\s+((?:{NUMBER})\s*{UNIT})\s+of\s+(\w+ing\b[^,;.]*?)\s*(?:,|(?=\b(?:{PRONOUN})\b))", r" \2 for \1 ; "),
    (rf"(?<!\bfor\s)\b((?:{NUMBER})\s*{UNIT})\s+of\s+([a-z]+ing)\b", r"\2 for \1"), (r"\bshadow[\s-]box", "shadowbox"),
    (r"\b(?:seem|appear)(s|ed)?\s+to\s+be\s+(?:about\s+to\s+(?=[a-z]))?", "is "),
    (rf"\b({NUMBER})\s+(push|sit|pull|chin)[\s-]ups?\b", r"\1 \2-ups"), (r"\b(push|sit|pull|chin)\s+ups\b", r"\1-ups"), (r"\bjumping-?jack", "jumping jack"),
    (r"\s*,[\s,]*", " , "), (r"[^\S\n]+", " "),
)
LIST_BEGINS, LIST_NUMBER = re.compile(r"\s*[1a]\.\s"), re.compile(r"(?<!\S)(?:\d+|[a-h])\.\s+(?=[a-z])")      # '1. wave 2. jump'
TIMED = re.compile(r"""                                    # '[0-3s]', '0:03 - 0:05', '3-5 s:'; not 'for 3-5 s'
    (?P<open>[\[(])? (?<![\w.:]) (?<!\bfor[ ])
    (?:(?P<m1>\d{1,2}):)? (?P<s1>\d+(?:\.\d+)?) \s* (?P<unit>s)?
    \s* [-–] \s*
    (?:(?P<m2>\d{1,2}):)? (?P<s2>\d+(?:\.\d+)?) \s* (?:s(?:ec(?:ond)?s?)?)?
    (?(open) [\])] | (?(m2) (?!\d) | (?(unit) (?!\w) | \s*:)))        # it ends as it began, or is a time by 'm:' or 's'
    \s* :?""", re.VERBOSE)
FROM_ZERO = re.compile(r"(?<![\w.:-])0\s*[-–]\s*\d+(?:\.\d+)?\s*s(?:ec(?:ond)?s?)?\b")           # '0-2s wave, 2-5s jump': times, not durations
RANGE = re.compile(r"(?<![\w.:-])(\d+(?:\.\d+)?\s*[-–]\s*\d+(?:\.\d+)?\s*s(?:ec(?:ond)?s?)?)\b(?!\s*:)")
EMOJIS = "[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f\u200d]+"
EMOJI = re.compile(rf"{EMOJIS}\s*([a-z]*)")
EMOJI_ALONE = re.compile(rf"(?:^|[,;.!?]|\b(?:then|and|finally))\s*(?P<emoji>{EMOJIS})(?=\s*(?:$|[,;.!?]|(?:then|and)\b))")   # 'and then 🙏'
BIG_NUMBER = re.compile(rf"""
    \b (?:(?P<number>half|{NUMBER}|an?) \s+ (?:(?:of|an?)\s+)?)? (?P<multiple>{'|'.join(MULTIPLES)}) \b |     # 'half a dozen'
    \b (?P<power>\d+(?:\.\d+)?e[+-]?\d+) (?=\s*(?:{UNIT}|times)?\b) |                                         # '1e9'
    \b (?P<tens>{'|'.join(TENS)}) [\s-] (?P<ones>{ONES}) \b                                                   # 'twenty-five'
    """, re.VERBOSE)
FRACTION = re.compile(rf"""                                # '1 1/2 s'
    (?<![\d./]) (?:(?P<whole>\d+) (?:\s+and\s+|[\s-]+))?
    (?P<over>\d{{1,2}}) [/\u2044] (?P<under>[2-9]|10) (?![\d/])
    (?P<of>\s* (?:of\s+)? (?:an?\s+)? (?:{UNIT}|times) \b)?""", re.VERBOSE)
ROMAN_COUNT = re.compile(                                  # 'IV times', 'iv times', 'X times'; not 'x times'
    rf"\b(?:(?i:{'|'.join(name for name in ROMAN if len(name) > 1)})|V|X)(?=\s*(?i:times|x)\b)")
CONTROLS = re.compile(                                     # a terminal's: colours, titles
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b(?:[ -/][0-~]|[78=>c])?")
SAID_AGAIN = re.compile(r"\b([a-z]+)((?:\s+\1)+)\b(?=\s*([a-z]*))")        # 'jump jump jump', and the word behind it
WITH_SLASHES = re.compile(r"\b[a-z]+(?:\s?/\s?[a-z]+)+\b")                 # 'wave/jump/clap'
SIDES_LISTED = re.compile(                                 # 'left, right, left'
    r"\b(?:left|right)(?:(?:\s*,\s*(?:and\s+)?|\s+)(?:left|right)\b)+(?:\s+and\s+(?:left|right)\b)?(?=\s*(?:[.;!?\n]|$))")
REPEATED_LIST = re.compile(rf"""                           # 'repeat 3 times: jump, clap', '3 times: jump, clap'
    (?:\b (?:repeats?(?:\s+(?:this|these|the\s+following))? | do(?:es)?\s+(?:this|these|the\s+following)) \s+ |
       (?:^|(?<=[.;!?\n])) \s*)
    (?:(?P<word>once|twice|thrice) | (?P<number>{NUMBER})\s+(?:times|rounds?|sets?)) \s* : \s* (?P<list>[^.;!?\n]+)""", re.VERBOSE)
HAVING_DONE = re.compile(r",?\s*\b(?:after\s+)?having\s+(?:(?:first|already|just|previously)\s+)?([a-z]+)\b")      # ', having first bowed'
SETS = re.compile(rf"\b({NUMBER})\s+(?:sets?|series|rounds?)\s+of\s+({NUMBER})\b")
# ---------------------------------------------------------------- durations and counts

ABOUT = r"(?:(?:about|around|roughly|exactly|at\s+least|almost|nearly|up\s+to|between|another|the\s+(?:first|next|last|final|following|remaining|other))\s+)?"
AMOUNT = rf"""                                             # 'half a', 'a', '4-5', 'two and a half'; then the unit
    (?: (?P<half>half) \s+ (?:of\s+)? (?:an?\s+)? |
        an?\s+ (?:(?:split|brief|short|single|full|whole|long)\s+)? (?=mil|se|mi|h) |
        (?:an?\s+)? (?<![\d.]) (?P<low>{NUMBER}) (?:\s*(?:-|–|to|or|and)\s* (?P<high>{NUMBER}))? (?P<and_half>\s+and\s+a\s+half)?
            (?:\s+of)? (?:\s+(?:an?|more|full|whole))? [\s-]*)
    (?P<unit>{UNIT}) \b (?!\s+\w+ly\b) (?P<half_more>\s+and\s+a\s+half\b)?
    (?: (?:(?<=minute)|(?<=minutes)|(?<=min)|(?<=mins)) \s+ (?:and\s+)? (?P<rest>{NUMBER}) \s* s(?:ec(?:ond)?s?)? \b)?"""
EACH = r"(?:(?P<each>each(?:\s+(?:one|time|of\s+which))?|every\s+time)\s+)?"
PER = r"(?:\s+(?P<per>each(?:\s+time)?|apiece|every\s+time|per\s+\w+))?"
DURATION = re.compile(rf"""                                # 'for 3 seconds'
    \s* ,? \s* \b (?:all\s+)? {EACH}
    (?:for|during|lasting|lasts|takes|taking|in|within|over|of(?=[^,]*\beach\b)) \s+
    {ABOUT} {AMOUNT} (?:\s+(?:long|straight))? {PER}""", re.VERBOSE)
BARE_DURATION = re.compile(rf"""                           # 'walks five seconds'
    \s* ,? \s* (?<!\bafter\s) (?<!\bevery\s) (?<!\bhis\s) (?<!\bher\s) (?<!\bpause\sof\s) (?<!\bwith\sa\s) \b {EACH} {ABOUT}
    (?= half\s+(?:of\s+)?an?\s | (?:an?\s+)?(?:{NUMBER})\b)
    {AMOUNT} (?:\s+long)? {PER} (?:\s+of(?=\s+\w+ing\b))?""", re.VERBOSE)
ADJECTIVE = re.compile(rf"-{UNIT}$")
NO_NUMBER = re.compile(rf"""
    \b (?:nan|inf(?:inity|inite)?|\d+(?:\.\d+){{2,}}|0x[\da-f]+) \s* (?:times|{UNIT}) \b |            # '1.2.3 times'
    \b \d+ (?:\s+\d+)+ \s* (?:times|{UNIT}) \b |                                           # '2 3 times'
    \b (?:for|lasting) \s+ (?:[\w.-]+\s+){{0,4}}? {UNIT.replace('|s|', '|')} (?!\w)        # 'for umpteen seconds'
    """, re.VERBOSE)
NOT_WHOLE = re.compile(rf"""                               # '2.5 times', 'one and a quarter times', 'once and a half'; not 'once and a half turn'
    (?<![\d.]) \d*\.\d*[1-9]\d* \s+ times \b |
    \b (?:(?:{NUMBER}|{OFTEN}) \s+ and \s+)? (?:(?:an?|one|two|three) \s+)? (?:half|third|quarter)s? \s+ (?:of\s+)? times \b |
    \b (?:{OFTEN}|times) \s+ and \s+ an? \s+ (?:half|third|quarter) \b
        (?= \s* (?:[^\w\s]|$) | \s+ (?:and|then|before|after|while|when|with|in|on|to|for|{PRONOUN}) \b)""", re.VERBOSE)
NO_COUNT = re.compile(r"""                                 # 'umpteen times', 'lots of times', 'n times'
    \s* \b (?<!\bthe\s) (?: (?:an?\s+)? (?:(?:certain|good|great|huge|large|small|[b-z])\s+)?
            (?:number|lots?|tons?|loads?|heaps?|bunch|handful|dozens|hundreds|thousands|millions|scores|[a-z]*zillions?) \s+ of |
        (?:an?\s+)? [a-z]*zillion | umpteen | countless | numerous | innumerable | endless | some | enough | various | [b-z])
    \s+ (?:more\s+)? times \b""", re.VERBOSE)
ONE_OF_TWO_COUNTS = re.compile(rf"""                       # '3-4 times', 'once or twice', 'not once but twice'; not 'a one-two punch'
    \b (?:from\s+ | (?P<not>not)\s+ | (?P<between>between)\s+)? (?P<first>{OFTEN}|{NUMBER}) (?:\s+times)?
    (?(not) \s*,?\s+but\s+ | (?: (?<=\d)[ ]?[-–][ ]?(?=\d) | \s+(?:to|or|(?(between)and|or))\s+ ))
    (?P<count>{OFTEN}|{NUMBER}) \b (?!\s*{UNIT}\b) (?P<counted>(?:\s+[a-z-]+){{0,4}})""", re.VERBOSE)
TIME_SPAN = re.compile(rf"""                               # 'from 2 to 5 seconds'
    \s* ,? \s* \b (?:from | (?<!for\s) (?<!ing\s) (?P<between>between)) \s+
    (?:seconds?\s+)? (?P<begin>{NUMBER}) \s* (?P<unit>{UNIT})? \s*
    (?:to|until|till|-|–|(?(between)and|to)) \s*
    (?:seconds?\s+)? (?P<end>{NUMBER}) \b (?:\s*(?P<end_unit>{UNIT})\b)? \s* ,?""", re.VERBOSE)
UNTIL_TIME = re.compile(rf"\b(?:until|till)\s+(?:second\s+)?(?:{NUMBER})\s*(?:{UNIT})\b")
AT_TIME = re.compile(rf"""                                 # 'at 3 seconds', 'at the 3 second mark', 'at second 3'
    \s* ,? \s* \b at\s+ (?:about\s+|exactly\s+)? (?:the\s+)?
    (?:second\s+(?P<second>{NUMBER}) | (?P<amount>{NUMBER})[\s-]*(?P<unit>{UNIT})) \b
    (?:\s+mark)? (?!\s+(?:per|each)\b) \s* ,?""", re.VERBOSE)
CLOCK = re.compile(r"\b(?P<word>from|to|at|until|till|for|lasting|in|within)\s+(?P<m>\d{1,2}):(?P<s>\d{2})(?![\d:])")      # 'at 0:03'
DELAYED = re.compile(rf"""                                 # 'and after two seconds'
    \s* ,? \s* \b (?:and\s+)? (?:then\s+)? after\s+ (?P<delay>{ABOUT} {AMOUNT}) (?!\s+of\b) \s* ,?""", re.VERBOSE)
COUNT = re.compile(rf"""
    \b (?:(?P<times>once|twice|thrice) | (?:an?\s+)? (?P<number>{NUMBER}) (?:\s+of)? (?P<words>(?:\s+[a-z-]+){{1,4}})) \b""", re.VERBOSE)
BARE_COUNT = re.compile(rf"(?:(?:{PRONOUN}|(?:an?|the) (?:{PERSON})) )?(?P<verb>[a-z]+) (?:{NUMBER})")         # 'jump 3'
ONLY_COUNT = re.compile(rf"(?:once|twice|thrice|(?:{NUMBER}) times?)(?: more| each)?")
# ---------------------------------------------------------------- turns of the body

TURNS = re.compile(rf"""
    (?:\w+ly\s+)*
    (?: (?:turns|rotates|pivots|swivels|revolves|(?P<spins>spins|twirls|whirls)) \b
        (?!(?:\s+(?:the|his|her|their|both|one|left|right|upper))*\s+{LIMBS}\b) |                 # not 'turns the head'
        (?:does|makes|performs|takes|executes|completes) \b (?=.*\b(?:turns?|rotations?|revolutions?|360|180)\b))""", re.VERBOSE)
CLOCKWISE = re.compile(r"\b(counter-?\s*|anti-?\s*)?clockwise\b")
DEGREES = re.compile(r"\b(\d+)(?:[\s-]*(?:degrees?\b|°)|(?<=360)|(?<=180))")
HALF_TURNS = (                                             # (pattern, how many half turns it says)
    (re.compile(r"\b(?:quarters?|third|eighth)\b"), 0),
    (re.compile(r"\b(?:half|about-face)\b"), 1),
    (re.compile(r"\b(?:full|fully|whole|complete|completely|entire|all\s+the\s+way)\b"), 2),
    (re.compile(r"\b(?:around|round|about)\b"), 1))
GOING = r"""
    (?P<manner>(?:\w+ly\s+)*)
    (?: (?P<gait>walks|runs|jogs|strolls|marches|strides|sprints|saunters|skips|hurries|rushes) |
        goes|comes|heads|moves|gets|returns) \b"""
GOES = re.compile(GOING, re.VERBOSE)
GOES_BACK = re.compile(rf"{GOING} (?:(?<=returns) | \s+back\b(?!\s+(?:and|away|up|off)\b))", re.VERBOSE)        # not 'walks backwards'
GOES_AWAY = re.compile(rf"{GOING} \s+(?:away|off)\b", re.VERBOSE)
# ---------------------------------------------------------------- where one action ends and the next begins

SENTENCE_END = re.compile(r"[!?]+|\.+(?=\s|$|[a-z]{2})|\n+")
ORDER_WORDS = re.compile(rf"""
    [,;]? \s* (?:\b(?:and|but|only)\s+)?
    \b (?:then | (?<!\bthe\s)next(?!\s+to\b) |
          after\s+(?:that|which|this|an?\s+(?:(?:short|brief|long|little)\s+)?(?:moment|while|pause|bit)) | afterwards? | thereafter | followed\s+by |
          finally | lastly | subsequently | later(?:\s+on)? |
          (?:at|in)\s+the\s+(?:very\s+)?end(?!\s+of) | at\s+last | to\s+finish(?:\s+(?:off|up))? | to\s+end |
          before\s+finally) \b \s* ,? |
    (?:[,;]\s*|\s)(?:and\s+) (?:(?:finish|end)(?:es|s|ing)?\s+(?:off\s+)?with | after(?=\s+(?:{PRONOUN}|{DONE})\b[^,]*$)) \b |
    ,\s* (?:and\s+)? (?:second|third|fourth|fifth)(?:ly)? \b \s* ,? |
    \s*;\s*""", re.VERBOSE)
BEFORE_THAT = re.compile(r"""                              # 'but before that he crouches', 'but first he crouches'
    [,;]?\s* (?: (?:\b(?:and|but)\s+)? \b before\s+(?:that|this|which|doing\s+(?:so|that|this)) | \bbut\s+first ) \b \s* ,?""", re.VERBOSE)
COLON = re.compile(r"\s*:\s*|\s+[–—-]+(?:\s+|$)|\s*—\s*")
CLAUSE_BREAK = re.compile(rf"(?:\s*,\s*(?:and\s+|but\s+|so\s+)?|\s+(?:and|but|so(?=\s+(?:{PRONOUN})\s))\s+)(?=(?P<noun>(?:an?|the|{NUMBER})\s)?)")
LIST_COMMA = re.compile(r"\s*,\s*(?:and\s+)?")
SAME_TIME = re.compile(r"\s*,?\s*\b(?:(?:(?:both|all)\s+)?at\s+the\s+same\s+time|simultaneously|at\s+once)\b\s*,?")
SUBORDINATE = re.compile(r"""                              # 'when he has jumped , he waves'
    ^ (?P<word>before|after|when(?:ever)?|once|as\s+soon\s+as|if|until|because|since|while|as) \s+
    (?P<inner>[^,]+?) \s* , \s* (?P<outer>.+) $""", re.VERBOSE)
FRAMED = tuple(re.compile(pattern) for pattern in (        # 'after clapping and before bowing , he waves', and the other way round
    r"^(?P<word>after|before)\s+(?P<one>[^,]+?)\s+and\s+(?P<other>after|before)\s+(?P<two>[^,]+?)\s*,\s*(?P<outer>.+)$",
    r"^(?P<outer>.+?)\s*,?\s+(?P<word>after|before)\s+(?P<one>[^,]+?)\s+and\s+(?P<other>after|before)\s+(?P<two>[^,]+)$"))
MEANTIME = re.compile(                                     # 'she waves while the music plays'
    r"^(?P<outer>.+?)\s*,?\s+(?P<word>while|as|when|until|because|since|if)\s+(?P<inner>[^,]+)$")
WHILE_DOING = re.compile(                                  # 'while jumping she waves'
    rf"^(?P<word>while)\s+(?P<inner>\w+ing\b.*?)\s+(?P<outer>(?:{PRONOUN}|(?:the|a)\s+(?:{PERSON}))\b.+)$")
CLAUSE_FIRST = re.compile(                                 # 'because he is cold he rubs his hands'
    rf"^(?P<word>before|after|when|once|as\s+soon\s+as|if|because|since|while|as)\s+(?P<inner>(?:{PRONOUN}|(?:the|an?|his|her)\s+[a-z]+)\s+[^,]*?[a-z]{{3,}}(?<!that)(?<!than)(?<!but)(?<!and)(?<!when)(?<!while))\s+(?P<outer>(?:{PRONOUN})\s+.+)$")
MANNER = r"(?:very\s+)?[a-z]{3,}ly|forwards?|backwards?|sideways|(?:up|down)wards?"
ADVERB_PHRASE = r"""
    (?:with|without|using|on|to|in|at|by|from|for|over|under|above|behind|across|along|around|through|into|onto|towards?|
       like|every|each|(?:instead|out|because)\s+of|rather\s+than|inside|outside|near|against|up|down|past|between) \s+ [^\s,]+"""
ADVERBIAL = re.compile(rf"""                               # what may stand before the clause that it describes
    (?:(?:(?P<word>once|twice|thrice) | (?P<number>{NUMBER})\s+times | {MANNER}) | {ADVERB_PHRASE}) (?=\s|$)""", re.VERBOSE)
ADVERB = rf"(?:(?:once|twice|thrice) | (?:{NUMBER})\s+times | {MANNER})"
SOME_ADVERBS = rf"(?:{ADVERB} (?:\s+and|\s+but)? \s+)* (?:{ADVERB} | {ADVERB_PHRASE} (?:\s+[^\s,]+)*)"
ADVERBIALS = re.compile(rf"""                              # 'with the left hand up , the right down'
    {SOME_ADVERBS}
    (?:\s* , (?:\s+(?:and|but))? \s+ (?:{SOME_ADVERBS} | (?:(?:the|his|her|their|left|right|both)\s+)+ {LIMBS} (?:\s+[^\s,]+)*))*
    """, re.VERBOSE)
ENDS_ADVERBIAL = re.compile(rf"""
    (?:\btimes | \b(?:{NUMBER})\s+{UNIT} | ^(?:once|twice|thrice) | \b(?:to|on|from|towards?)\s+the\s+(?:left|right) | \b{LIMBS}) $
    """, re.VERBOSE)
INTERPOSED = re.compile(rf"""                              # 'she , with her left hand , waves'
    ^ (?P<who>{PRONOUN}|(?:the|a|an)\s+(?:[a-z-]+\s+){{0,3}}(?:{PERSON}))
    \s* , \s* (?P<front>[^,]+?) \s* , \s* (?P<outer>.+) $""", re.VERBOSE)
LATER_CLAUSE = re.compile(r"\s*,?\s+(?:before|after|while|until|when|because|since|as\s+(?:he|she|they|it|an?|the))\s")
INSTEAD = re.compile(r"^(?P<undone>.+?)\s*,?\s+but\s+instead\s+(?P<done>.+)$")         # 'wants to wave but instead he bows'
BEFORE_AFTER = re.compile(r"^(?P<first>.*?)[\s,]+(?P<word>before|after)\s+(?P<second>.+)$")
# ---------------------------------------------------------------- what is no action

OPENING_WORDS = re.compile(rf"""
    ^ (?:\s* (?: (?:(?:at\s+)?first(?:ly)?(?:\s+of\s+all)? | second(?:ly)? | third(?:ly)? | to\s+(?:begin|start)(?:\s+with)? |
                    initially|and|but|so|now|also|well|ok(?:ay)?|hey|hi|hello|yo|pov|maybe|perhaps|once\s+upon\s+a\s+time | (?:only|to)(?=\s+(?:{DONE}|[a-z]+ing)\b) | \d+[.)] | [-*•])
                 (?=[\s,]|$) |
                 ,) \s*)+""", re.VERBOSE)
PICTURE = r"""
    (?:(?:an?|the|one|this)\s+)?
    (?:(?:short|long|tracking|wide|medium|close-?up|full(?:[\s-]body)?|slow(?:[\s-]motion)?|cinematic|
          aerial|static|handheld|realistic|beautiful)\s+){0,3}
    (?:video|clip|animation|movie|film|scene|gif|shot|footage|close-?up)"""
REQUESTS = re.compile(rf"""                                # 'can you make a video where', 'have the man'
    ^ (?: (?:make|animate|move|show|render|film)\s+ (?:it|the\s+(?:photo|picture|image)|{SOMEBODY} (?:\s+in\s+the\s+(?:photo|picture|image))?)
              \s+ (?:so(?:\s+that)?|such\s+that) \s+ (?=(?:{PRONOUN}|{SOMEBODY})\b) |
          (?:can|could|would|will)\s+ (?: (?:you|we)\s+ (?:possibly\s+|maybe\s+|just\s+)? | (?=(?:he|she|they|{SOMEBODY})\b)) |
          (?: (?:i|we)\s+would\s+(?:like|love)\s+it | it\s+would\s+be\s+\w+ | how\s+about | what) \s+if\s+ |
          (?:i|we)\s+want\s+that\s+ |
          (?:i|we)\s+ (?:just\s+|really\s+)? (?:want|need|would\s+(?:like|love)|wish)\s+ (?:to\s+see\s+|you\s+to\s+)?
              (?=to\b|{SOMEBODY}|{PICTURE}|make|show|have|generate|create|animate|an?\b) |
          (?:make|have|let|get|show|generate|create|render|animate|film|give|see|imagine|picture)\s+ (?:me\s+|us\s+)?
              (?=(?:{SOMEBODY}|{PICTURE})) |
          {PICTURE} \s* ,? \s* (?:should\s+)? (?:of|where|in\s+which|that\s+shows|showing|shows?|with)\s+ |
          there\s+(?:is|are)\s+ (?=an?\b|one\b) |
          (?: (?:i|we)\s+(?:can\s+)? | let's\s+ | let\s+(?:us|me)\s+) (?:see|imagine|watch)\s+ |
          (?:do\s+)? (?:the\s+following|this|these) (?:\s+(?:actions|moves|things))? \s* :) \s*""", re.VERBOSE)
CAMERA_MOVES = re.compile(r"""                             # 'the camera zooms in while ...', not 'waves at the camera'
    (?P<before>^ | , | ; | \b(?:while|as|and|then|when|with)) \s*
    (?P<camera> (?:(?:the|a)\s+)? camera \s*
                (?: : \s* [^,;]*? |
                    \s (?:\w+ly\s+|then\s+)?
                    (?:(?!always\b)\w+s | \w+ing | zoom|pan|orbit|follow|move|tilt|track|dolly|static | is\s+\w+) \b [^,;]*?) |
                (?:filmed|shot|seen|viewed) \s+ (?:from|in|by|with) \b [^,;]*?)
    \s* (?= , | ; | $ | \b(?:while|as|when)\b) (?:\b(?:while|as|when)\b)?""", re.VERBOSE)
NO_TIMES = re.compile(rf"(?<![\w.])(?:0+(?:\.0+)?|zero|no)\s*(?:times?|{UNIT})\b")
NEGATIVE_COUNT = re.compile(rf"(?<![\w–—-])(?<!\d\s)(?:[-–−]\s?|minus\s+)(?:{NUMBER})\s*(?:times?|{UNIT})\b", re.IGNORECASE)
NOT_DONE = re.compile(r"""                                 # 'without ...', ', not her right'; not 'does not raise the arm'
    \s* ,? \s* (?: \b(?:without|instead\s+of|rather\s+than|but\s+(?:not|never)) \s+ [^,]+ | \bno\s+[a-z]+ing\b [^,]* |
        (?:\b(?:and|but)\s+)? (?<!does\s)(?<!do\s)(?<!did\s)(?<!is\s)(?<!are\s)(?<!was\s)(?<!can\s)(?<!will\s)(?<!would\s) \b(?:not|never) \s+
        (?:(?:with|on|using|from|in|to|by)\s+)? (?:the|his|her|their|an?|left|right|both|that|this|it) \b [^,]*)""", re.VERBOSE)
OTHERWISE = r"(?:(?:with|on|to|from|using|at)\s+|(?:the|his|her|their|both|left|right)\b)"
NOT_BUT = re.compile(rf"""                                 # 'does not kick with the left leg but with the right'
    \b (?:(?P<aux>do|does|did|is|are)\s+)? (?P<undone>not \s+ (?:(?P<verb>[a-z]+)\s+)?? {OTHERWISE} [^,;.]*?)
    \s*,?\s* \bbut \s+ (?:(?:rather|instead|only)\s+)? (?P<done>{OTHERWISE} [^,;.]*)""", re.VERBOSE)
FRAMES = re.compile(rf"""                                  # 'for 30 frames'; not '24 frames per second'
    (?: \b(?:for|lasting|in|over|within) \s+ (?:{NUMBER}) | \b\d+) [\s-]* frames? \b (?!\s*(?:per|/)) | \bframes? \s+ \d+ \b""", re.VERBOSE)
PICTURE_LABEL = re.compile(r"""                            # 'lighting: warm sunset'
    (?:^|[,;]) \s* (?P<words> (?:(?:art|visual)\s+)?
        (?:lighting|lights?|style|mood|atmosphere|background|setting|location|environment|quality|lens|aspect\s+ratio|resolution|fps|
           frame\s+rate|audio|sound|music|colou?rs?|palette|negative(?:\s+prompt)?) \s* : \s* [^,;]*)""", re.VERBOSE)
PICTURE_WORD = r"""(?: (?:cinematic|(?:hyper|photo)?-?realistic|ultra|highly|very|super|extremely|soft|warm|cold|cool|dramatic|natural|studio|
    volumetric|ambient|moody|golden|neon|rim|low|high|best|shallow|sharp|professional|film|wide|close-?up|medium|long|aerial|drone|beautiful) \s+)*
    (?: shot | slow[\s-]motion | bokeh | golden\s+hour | lighting | light | lens\s+flare | focus | depth\s+of\s+field | (?:film\s+)?grain | quality |
        resolution | detail(?:ed|s)? | hdr | \d+\s?mm(?:\s+lens)? | masterpiece | cinematic | (?:hyper|photo)-?realistic | photo(?:graph(?:y)?)? |
        (?:unreal\s+engine(?:\s+\d)?|octane)(?:\s+render)? | trending\s+on\s+artstation | (?:anime|pixar|cartoon)\s+style)"""
PICTURE_WORDS = re.compile(                                # words for an image generator, between commas
    rf"(?:^|,) \s* (?P<words>{PICTURE_WORD} (?:\s+ (?:and\s+)? {PICTURE_WORD})*) \s* (?=[,:]|$)", re.VERBOSE)
OF_SOMEONE_ELSE = re.compile(r"\s*,?\s*\b(?:who|which)\b.*$")                  # 'waves at a friend, who waves back'
SOMEBODY_TO_THEM = re.compile(r"(?:someone|somebody)\b.*\b(?:him|her|them)\b")              # 'someone calls him', 'so he turns around'
NOBODY = re.compile(r"(?:nobody|no\s*one|none(?:\s+of\s+\w+)?)\b")
BY_NO_LIMB = re.compile(rf"\bneither\s+(?:of\s+{WHOSE}\s+)?{LIMBS}\b")
# ---------------------------------------------------------------- what was said before

HELD = re.compile(r"(?:holds|keeps)(?: (?:it|them|that|this|there|here|the|pose|position|up|for|like))*")
AGAIN = re.compile(r"repeats\b|does (?:so|it|that|this|the same|likewise)\b")
LIMB = re.compile(rf"""
    ^ (?:(?:up|down)\s+)?
    ((?:the|his|her|their|its|both|one|two)\s+ (?:(?:left|right|other|of\s+(?:his|her|their))\s+)? {LIMBS}) \b""", re.VERBOSE)
WITH_IT = re.compile(r"\bwith (?:it|them)\b")
BOTH_ALONE = re.compile(r"\bboth(?=$|\s+(?:up|down|out)\b)")
THE_SAME = re.compile(rf"\bthe\s+same(?=\s+(?:{PART})\b)")
THE_OTHER = re.compile(rf"\bthe\s+(?:other|opposite)(?:\s+one)?(?=\s+(?:{PART})\b|\s*$)")
SIDE = re.compile(r"\b(left|right)\b")
SIDE_ALONE = re.compile(rf"\b(?:with|on)\s+{WHOSE}\s+(?:left|right)$")
ONE_OF_A_SIDE = re.compile(rf"\b({WHOSE}) (left|right) one\b")
APPOSED = re.compile(rf"\b(?:(?P<whose>{WHOSE}|your)|one|an?) (?P<part>{PART}) , (?:the )?(?P<side>left|right)(?: one)?\b")      # 'her arm , the left one'
COUNTED_AGAIN = re.compile(                                # 'once with the right', behind 'twice with the left'
    rf"\s*(?:once|twice|thrice|(?:{NUMBER})(?:\s+times?)?)\s+(?:(?:with|on|to|using)\s+)?(?:(?:{WHOSE}\s+)?(?:left|right|other)|forwards?|backwards?)\b")
LIMB_ALONE = re.compile(rf"\s*(?:{WHOSE}\s+)?(?:left|right|both)\s+{LIMBS}\s*(?:,|\band\b|$)")
ENDS_IN_LIMB = re.compile(rf"\b(?:left|right|both)\s+{LIMBS}$")
EVERYTHING = re.compile(r"\b(?:all|everything|whole|sequence|motions?|movements?|routine|these)\b")
A_LIMB = rf"(?P<limb> (?:both|left|right | {WHOSE}(?:\s+(?:left|right|other|two))?) \s+ (?:{LIMBS} | {'|'.join(sorted(MORE_BODY_PARTS))}))"
LIMB_MOVES = re.compile(rf"{A_LIMB} \s+ (?P<verb>[a-z]+) (?P<rest>\b.*)", re.VERBOSE)      # 'her right arm swings', 'the knees bend'
LIMB_IS_MOVED = re.compile(rf"""                           # 'his left leg is lifted', 'both arms are being raised', 'her hand is waving'
    {A_LIMB} \s+ (?:is|are|was|were|gets?|got) \s+ (?:(?:being|then|now|also|\w+ly)\s+)* (?P<verb>[a-z]+) (?P<rest>\b.*)""", re.VERBOSE)
PASSIVE = re.compile(rf"""                                 # 'three squats are done', 'the ball is thrown with the right hand'
    (?P<what>(?:an?|the|his|her|their|{NUMBER})\s+(?:[a-z-]+\s+){{0,3}}?[a-z-]+) \s+
    (?:is|are|was|were|gets?|got) \s+ (?:(?:being|then|now|also|\w+ly)\s+)* (?P<verb>[a-z]+) (?P<rest>\b.*)""", re.VERBOSE)
IS_DONE = re.compile(r"\b(?:is|are|was|were|gets?|got)\b")
BY_SOMEBODY = re.compile(rf"\s+by\s+(?P<who>{SOMEBODY})")
WITH_LIMB = re.compile(rf"\b(?:with|in|by)\s+{WHOSE}\s+(?:left|right)\s+{LIMBS}\b")
LIMB_GOES = re.compile(                                    # 'hands up', 'right hand out'
    rf"(?P<limb>(?:both\s+|(?:left|right)\s+)?{LIMBS}|both)\s+(?P<way>up|down|out|in|forward|back|together|apart)")
LIMB_PLACED = re.compile(rf"""                             # 'hands on hips', 'arms out to the sides', 'arms akimbo'
    (?P<limb>(?:both\s+|(?:left|right)\s+)?{LIMBS}) \s+
    (?: (?P<place>(?:on|in(?!\s+circles?\b)|at|to|over|above|behind|against)\s+.+) | (?P<out>out\s+(?:wide|to\s+the\s+sides?)|wide) | (?P<held>akimbo|crossed|folded) )
    """, re.VERBOSE)
TO_EACH_OTHER = re.compile(r"""
    \s* \b (?:(?:with|to|at|against|towards?|beside|behind|around)\s+)? (?:each\s+other|one\s+another) \b | \s* \bside\s+by\s+side\b
    """, re.VERBOSE)
TOGETHER = re.compile(r"\s+together\b")
EACH_LIMB = re.compile(rf"(?<!\bin )\b(?:each|every|per)\s+(?P<part>{PART})\b")           # 'kicks with each leg', '5 kicks per leg'
MORE = re.compile(rf"\b({NUMBER})(?:\s+more$|(?=\s+(?:(?:to|on|with)\s+{WHOSE}\s+(?:left|right)|forwards?|backwards?)\b))")         # 'does ten more', 'one to the left'
LIMB_OF_A_SIDE = re.compile(r"\b(?:left|right|both)\s+([a-z]+)")
# ---------------------------------------------------------------- what an action has one of

SUBORDINATED = re.compile(r"\b(?:while|when|until|because|since|so|if|that|who|which|like|(?<!\bhigh\s)as)\b")
DANGLING = re.compile(r"(?:\s*[,–-]|\s+(?:and|or|but|to|of|for|with|by|an?|the|another))*\s*$")      # before words that are left out
BOTH_SIDES = re.compile(r"\b(?:left|right)\s+(?:and|or|to|then)\s+(?:to\s+)?(?:(?:the|his|her|their)\s+)?(?:left|right)\b")
DIRECTION = re.compile(rf"\b(left|right)\b(?!\s+(?:{LIMBS}|one)\b)")
OTHER_LIMB = re.compile(rf"""                              # 'left arm and right leg', 'right leg left leg', 'left hand on hip , right hand up'
    \b(?:left|right)\s+(?P<part>{PART})\b (?:\s+and\s+(?!(?:{WHOSE}\s+)?\w+\s+(?P=part)\b) | [^,]*,\s+ | \s+)
    (?P<other>(?:{WHOSE}\s+)?(?:left|right)\s+(?:{PART})\b.*)""", re.VERBOSE)
LOOSE_NUMBER = re.compile(rf"""                            # '2 s', 'three times', 'for another 5', 'one to the left'; not 'high five'
    (?: \b(?:once|twice|thrice) | \b(?:{NUMBER})\s+times? | \b(?<!\bto\s)(?:{NUMBER})\s*{UNIT} |
        \b(?<!\bhigh\s)(?<!\bto\s)(?<!\bof\s)(?<!\bfigure\s)(?:{NUMBER})(?=\s+(?:(?:to|on|with)\s+{WHOSE}\s+(?:left|right)|forwards?|backwards?)\b | (?<!one)$) ) \b""", re.VERBOSE)
