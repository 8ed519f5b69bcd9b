"""Who may do a motion, and what people write around it, beside the subjects and phrases of the captions themselves."""

PEOPLE = tuple("""
accountant acrobat aunt baker barber bartender beginner bride bricklayer brother builder butcher butler captain carpenter
cashier champion chef chief clerk climber clown colleague comedian commander composer conductor cook cousin cowboy
creature customer cyclist daughter dentist designer detective diver doctor doll driver drummer editor elder elf emperor
engineer explorer farmer father firefighter fisherman florist friend gardener giant grandfather granddad grandma groom
hairdresser hiker host housewife husband inspector instructor janitor jeweller journalist judge juggler king kid lawyer
librarian lifeguard magician mailman manager mechanic mermaid miner monk mother musician nanny neighbour nephew niece nun
nurse opponent painter parent passenger patient pedestrian pensioner philosopher photographer physicist pilot pirate
plumber poet policeman politician president priest prince princess prisoner professor programmer queen referee reporter
robot rider sculptor scientist secretary senator shepherd shopkeeper singer sister skier snowman son stranger surfer
surgeon tailor tenant tutor twin umpire uncle undertaker vampire veteran villager violinist visitor waiter waitress
watchman wife witch wizard worker writer youngster zombie adult baby toddler teenager student pupil volunteer trainee
stranger gentleman grandson grandmother bystander commuter cartoon avatar mannequin puppet figure silhouette
""".split())

ADJECTIVES = tuple("""
old young tall short small little big friendly angry sad happy shy brave tired sleepy famous rich poor clever silly cute
strong weak bearded blonde bald elegant cheerful lonely proud nervous excited bored calm busy lazy elderly middle-aged
cartoonish athletic slim chubby barefoot masked drunk polite rude curious grumpy playful serious
""".split())

SCENES = (
    "in the park", "on the beach", "at home", "in the kitchen", "on the street", "at the gym", "on stage",
    "in the garden", "in the office", "under a tree", "near the window", "in the rain", "at night", "in the morning",
    "wearing a red shirt", "wearing a hat", "in a blue dress", "with long hair", "in jeans", "with glasses",
    "in front of a wall", "in front of the camera", "in a studio", "in slow motion", "very slowly", "gently",
    "quickly", "with enthusiasm", "proudly", "nervously", "sadly", "angrily", "politely", "confidently", "carefully",
    "a little", "a bit", "several times", "over and over", "again and again", "for some seconds", "for the audience",
    "as if tired", "like a robot", "while smiling", "while looking ahead", "and smiles", "and then relaxes", "please",
    "in the middle of the night", "because of the music", "to show how it is done", "to greet the neighbours",
    "during the lesson", "after a long day", "before dinner", "with all their might", "as the crowd cheers",
    "in a friendly way", "without hurry", "without a word", "with closed eyes", "to amuse the children",
    "to the rhythm of a song", "next to a car", "behind the fence", "between two houses", "in an empty hall",
    "on a sunny day", "in the snow", "wearing a long coat", "dressed in black", "at a wedding", "at the airport",
    "at school", "in the living room", "for the first time", "for exercise", "for fun", "out of habit", "on command",
    "when the bell rings", "when asked", "as part of the training", "as a warm-up", "as a joke", "in full view",
)
