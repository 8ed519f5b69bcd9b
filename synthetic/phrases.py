"""What people call each kind of motion. A star marks a verb to inflect; {side} is left or right; {their}, {they},
{them_self} fit the subject. Lists named kind:both are for both sides at once; OBJECTS count a motion with a noun."""

from synthetic.arm_phrases import ARM_PHRASES

PHRASES: dict[str, tuple[str, ...]] = ARM_PHRASES | {
    "stand": (
        "*stand still", "*stand in place", "*wait", "*stay where {they} {are}", "*remain motionless", "*pause",
        "*hold still", "*do nothing", "*rest on {their} feet", "*idle", "*stand upright", "*stand quietly",
        "*linger on the spot", "*keep still", "*freeze", "*take a break standing up", "*stand relaxed",
        "*stop and *wait"),
    "squat": (
        "*squat", "*do squats", "*squat down and *stand up", "*bend {their} knees deeply", "*perform squats",
        "*lower {their} hips and *rise again", "*go down into a squat", "*drop into a deep knee bend",
        "*do knee bends", "*sink down and *come back up", "*train {their} legs with squats",
        "*dip down bending the knees", "*work out with squats", "*lower {their} body by bending the knees",
        "*exercise by squatting", "*go down and up on bent legs", "*bob down and *get up",
        "*squat low with arms forward"),
    "crouch": (
        "*crouch", "*crouch down", "*duck", "*hunker down", "*cower", "*get down low", "*stay low",
        "*stoop down low", "*duck down to hide", "*crouch and *stay there", "*huddle close to the floor",
        "*make {them_self} small", "*lower {them_self} into a crouch", "*duck under something", "*hide by crouching",
        "*bend {their} legs and *stay down", "*squat down and *remain low"),
    "kneel": (
        "*kneel on the {side} knee", "*kneel down on {their} {side} knee", "*go down on the {side} knee",
        "*drop to the {side} knee", "*take a knee with the {side} leg", "*get down on the {side} knee",
        "*propose on the {side} knee", "*rest {their} {side} knee on the floor", "*genuflect with the {side} knee",
        "*lower {their} {side} knee to the ground", "*put {their} {side} knee on the ground",
        "*sink onto the {side} knee", "*place the {side} knee on the floor", "*kneel with the {side} leg",
        "*kneel before a queen on the {side} knee", "*touch the ground with {their} {side} knee"),
    "sit": (
        "*sit down", "*take a seat", "*sit on a chair", "*sit", "*lower {them_self} onto a chair", "*have a seat",
        "*be seated", "*plop down on a chair", "*settle into a seat", "*sit down on a bench", "*seat {them_self}",
        "*get comfortable on a chair", "*rest on a stool", "*sink into an armchair", "*perch on a stool",
        "*move into a sitting position", "*take a place on the bench"),
    "jump": (
        "*jump", "*jump up", "*jump up and down", "*leap", "*leap into the air", "*jump high", "*spring up",
        "*bounce off the ground", "*hop up with both feet", "*vault upward", "*jump in place", "*bound up",
        "*jump for joy", "*crouch and *leap", "*take off from the ground", "*jump with both legs",
        "*launch {them_self} into the air", "*jump to touch the ceiling", "*jump with arms swinging"),
    "jumping_jack": (
        "*do jumping jacks", "*do star jumps", "*perform jumping jacks", "*jump with arms and legs apart",
        "*spread {their} arms and legs while jumping", "*exercise with jumping jacks", "*jump into a star shape",
        "*warm up with star jumps", "*do side straddle hops", "*jump opening and closing the legs",
        "*train with jumping jacks", "*make star jumps", "*jump like a jumping jack",
        "*jump legs apart and arms overhead", "*do cardio with jumping jacks", "*jump like a star"),
    "hop": (
        "*hop on the {side} leg", "*hop on {their} {side} foot", "*jump on the {side} leg only",
        "*bounce on one leg, the {side}", "*hop on one foot, the {side} one", "*balance and *hop on the {side} leg",
        "*spring on {their} {side} foot", "*jump on {their} {side} foot", "*do {side} leg hops",
        "*play hopscotch on the {side} foot", "*skip on the {side} foot", "*bob up and down on the {side} leg",
        "*hop {side}-legged", "*leap repeatedly on the {side} foot", "*hop around on the {side} leg",
        "*bounce on {their} {side} foot"),
    "kick": (
        "*kick with the {side} leg", "*kick with {their} {side} foot", "*do a {side} kick",
        "*kick the {side} foot forward", "*kick a ball with the {side} foot", "*swing {their} {side} leg forward",
        "*deliver a kick with the {side} leg", "*boot a ball with {their} {side} foot",
        "*strike with the {side} foot", "*throw a {side} kick", "*shoot a goal with the {side} foot",
        "*launch a high kick with the {side} leg", "*perform a {side} front kick", "*fling {their} {side} leg up",
        "*punt a ball with {their} {side} foot", "*kick out with the {side} leg", "*attack with the {side} foot"),
    "knee_raise:one": (
        "*raise {their} {side} knee", "*lift the {side} knee", "*pull {their} {side} knee up",
        "*bring the {side} knee up to the chest", "*lift {their} {side} leg with a bent knee",
        "*do {side} knee raises", "*drive the {side} knee up", "*strike with the {side} knee",
        "*balance on one leg with the {side} knee up", "*hoist {their} {side} knee", "*raise the {side} thigh",
        "*tuck the {side} knee up", "*hold {their} {side} knee high", "*raise {their} {side} leg",
        "*lift the {side} foot off the floor", "*knee the air with the {side} leg"),
    "knee_raise:both": (
        "*raise {their} knees one after the other", "*lift the left and right knee in turn", "*do knee raises",
        "*bring {their} knees up to the chest in turn", "*lift one knee after the other", "*alternate knee lifts",
        "*pull up both knees alternately", "*raise each knee in turn", "*lift both legs in turn",
        "*do standing knee lifts", "*drive {their} knees up by turns", "*take turns lifting the knees",
        "*tuck up one knee, then the other", "*raise the left and the right leg in turn",
        "*hoist {their} knees alternately"),
    "lunge": (
        "*lunge with the {side} leg", "*do a {side} lunge", "*lunge forward with {their} {side} foot",
        "*step forward into a {side} lunge", "*step out with the {side} leg and *bend both knees",
        "*perform lunges with the {side} leg", "*take a big step with the {side} foot and *dip",
        "*fence forward with the {side} leg", "*train lunges on the {side} leg",
        "*drop into a lunge with the {side} foot in front", "*stride deep onto the {side} leg",
        "*sink into a {side} lunge", "*put {their} {side} foot forward and *lower the hips",
        "*lunge onto {their} {side} leg", "*exercise with {side} leg lunges",
        "*split {their} stance with the {side} leg in front"),
    "bow": (
        "*bow", "*take a bow", "*bow down", "*bow politely", "*bend forward at the waist", "*bow to the audience",
        "*lower {their} head and upper body", "*make a bow", "*bow respectfully", "*greet with a bow",
        "*lean forward and *straighten up", "*incline {their} body", "*fold {their} upper body forward",
        "*thank the crowd with a bow", "*tip {their} torso forward", "*bow deeply",
        "*pay {their} respects by bowing"),
    "touch_toes": (
        "*touch {their} toes", "*bend over", "*reach for {their} toes", "*bend down to touch the floor",
        "*reach down to the ground", "*stretch down to {their} feet", "*bend over and *touch {their} feet",
        "*do toe touches", "*pick something up from the floor", "*fold forward with straight legs",
        "*lean all the way down", "*grab {their} ankles", "*stoop to pick something up",
        "*lower both hands to the floor", "*tie {their} shoes", "*stretch {their} hamstrings",
        "*reach the floor with both hands"),
    "stretch:one": (
        "*bend to the {side}", "*stretch to the {side} side", "*lean to the {side}", "*do a {side} side bend",
        "*bend sideways to the {side}", "*lean {side} with arms overhead", "*tilt {their} body to the {side}",
        "*stretch the body toward the {side}", "*arch over to the {side}", "*reach over to the {side}",
        "*sway far to the {side}", "*curve {their} torso to the {side}", "*stretch sideways to the {side}",
        "*incline to the {side} with raised arms", "*bend {their} upper body to the {side}"),
    "stretch:both": (
        "*stretch", "*stretch from side to side", "*stretch with arms overhead", "*do side bends",
        "*bend left and right", "*lean from side to side", "*stretch to both sides",
        "*loosen up with side stretches", "*sway with arms overhead", "*do a side stretch", "*limber up",
        "*bend the torso to the left and to the right", "*stretch {their} sides",
        "*swing the upper body left and right", "*stretch both flanks", "*warm up by bending sideways"),
    "nod": (
        "*nod", "*nod {their} head", "*say yes with {their} head", "*agree", "*nod in agreement", "*nod yes",
        "*move {their} head up and down", "*nod approvingly", "*signal yes", "*bob {their} head", "*give a nod",
        "*approve with a nod", "*dip {their} head", "*nod along", "*consent by nodding",
        "*confirm with {their} head"),
    "shake_head": (
        "*shake {their} head", "*say no with {their} head", "*disagree", "*shake {their} head no", "*refuse",
        "*turn {their} head from side to side", "*look left and right", "*signal no",
        "*move {their} head left and right", "*look around", "*shake {their} head in disbelief", "*deny something",
        "*swing {their} head side to side", "*reject an offer with a head shake", "*gesture no",
        "*glance left and right"),
    "walk": (
        "*walk", "*walk forward", "*walk ahead", "*stroll", "*stride forward", "*take a walk", "*go for a walk",
        "*amble along", "*wander forward", "*step forward", "*walk toward the camera", "*move forward on foot",
        "*saunter", "*take a few steps forward", "*pace forward", "*come closer", "*approach", "*walk straight on",
        "*go ahead", "*strut along", "*head forward"),
    "walk_backwards": (
        "*walk backwards", "*walk backward", "*step back", "*back away", "*retreat", "*move backwards", "*back up",
        "*go backwards", "*take steps back", "*withdraw", "*walk in reverse", "*pace backward", "*stroll backwards",
        "*retreat slowly facing the front", "*move away facing the camera", "*take a few steps backward"),
    "run": (
        "*run", "*run forward", "*sprint", "*jog", "*jog forward", "*dash ahead", "*race", "*hurry forward",
        "*rush ahead", "*run toward the camera", "*go for a run", "*bolt", "*gallop ahead", "*speed along",
        "*jog along", "*charge forward", "*run a race", "*sprint ahead", "*scamper forward", "*trot forward"),
    "jog_in_place": (
        "*jog in place", "*run in place", "*jog on the spot", "*run on the spot", "*run without moving forward",
        "*sprint in place", "*trot on the spot", "*run on a treadmill", "*jog on a treadmill",
        "*warm up by jogging in place", "*keep running on the same spot", "*do a stationary run",
        "*jog without going anywhere", "*bounce from foot to foot", "*run where {they} {are}",
        "*do cardio running in place"),
    "march": (
        "*march", "*march in place", "*march on the spot", "*march like a soldier",
        "*lift {their} knees high while marching", "*parade", "*stomp in place", "*step with high knees",
        "*march with high knees", "*goose-step", "*do high knees", "*drill like a soldier", "*tramp on the spot",
        "*stamp {their} feet in place", "*pace on the spot with high knees", "*march with swinging arms"),
    "side_step": (
        "*step to the {side}", "*side step to the {side}", "*walk sideways to the {side}", "*move {side}",
        "*shuffle to the {side}", "*take steps to the {side}", "*sidle {side}", "*go sideways to the {side}",
        "*sidestep {side}", "*move to {their} {side}", "*slide over to the {side}", "*shift {side} step by step",
        "*take a few side steps {side}", "*dodge to the {side}", "*edge {side}", "*step aside to the {side}"),
    "turn": (
        "*turn around to the {side}", "*turn {side}", "*turn to the {side}",
        "*turn {them_self} around to the {side}", "*rotate to the {side}", "*swivel {side}", "*pivot to the {side}",
        "*make a {side} turn", "*face about to the {side}", "*turn around over the {side} shoulder",
        "*spin around once to the {side}", "*wheel around to the {side}", "*turn the body {side}",
        "*do an about-face to the {side}", "*revolve to the {side}", "*look back by turning {side}"),
    "spin": (
        "*spin to the {side}", "*twirl to the {side}", "*whirl around to the {side}", "*pirouette to the {side}",
        "*spin around {side}", "*turn round and round to the {side}", "*spin in circles to the {side}",
        "*rotate quickly to the {side}", "*spin {side} like a top", "*go round in circles to the {side}",
        "*twirl like a ballerina to the {side}", "*make full turns to the {side}", "*keep turning to the {side}",
        "*reel around to the {side}", "*swirl {side}", "*spin {side} on the spot"),
    "dance": (
        "*dance", "*dance to music", "*groove", "*boogie", "*dance around", "*bust some moves", "*sway to the beat",
        "*move to the rhythm", "*dance happily", "*shimmy", "*party", "*shake {their} hips", "*swing {their} hips",
        "*hit the dance floor", "*dance freestyle", "*jive", "*disco dance", "*sway and *dance",
        "*dance the night away", "*show off some dance moves"),
}

OBJECTS: dict[str, tuple[str, str]] = {     # one, several: what "does two ..." counts
    "clap": ("clap", "claps"), "punch": ("{side} punch", "{side} punches"), "throw": ("{side} throw", "{side} throws"),
    "shrug": ("shrug", "shrugs"), "squat": ("squat", "squats"), "jump": ("jump", "jumps"), "bow": ("bow", "bows"),
    "jumping_jack": ("jumping jack", "jumping jacks"), "hop": ("{side} leg hop", "{side} leg hops"),
    "kick": ("{side} kick", "{side} kicks"), "knee_raise": ("{side} knee raise", "{side} knee raises"),
    "lunge": ("{side} lunge", "{side} lunges"), "touch_toes": ("toe touch", "toe touches"), "nod": ("nod", "nods"),
    "spin": ("{side} spin", "{side} spins"), "arm_circles": ("{side} arm circle", "{side} arm circles"),
    "raise_arm": ("{side} arm raise", "{side} arm raises"),
}
