"""Prompts in words of their own, which no training step sees: does the demo's text-to-motion model understand them?

Written apart from synthetic/phrases.py; a test checks that none of them is one of its phrases. {side} is left or right.
"""
from __future__ import annotations


UNSEEN_PROMPTS: dict[str, tuple[str, ...]] = {
    "stand": ("a tall man just stands there", "the girl stands without moving", "someone remains standing"),
    "wave:one": ("a woman waves hello using the {side} hand", "the child waves goodbye with his {side} arm",
                 "a tourist is waving her {side} hand at friends"),
    "wave:both": ("the fan waves both her hands over the head", "a sailor waving with both of his arms",
                  "waves using both hands"),
    "raise_arm:one": ("the pupil raises his {side} hand high", "a worker lifts the {side} arm above the head",
                      "raising one arm, the {side} one"),
    "raise_arm:both": ("the winner raises both hands to the sky", "a woman lifts both her arms overhead",
                       "he raises his two arms up"),
    "hands_up": ("the thief holds up both hands in surrender", "a man surrenders with his hands up",
                 "she puts her palms up to surrender"),
    "arms_out": ("the boy holds both arms straight out sideways", "spreading the arms out to the sides",
                 "a person extends both arms to the sides"),
    "arm_circles:one": ("she swings her {side} arm around in big circles", "a swimmer circles the {side} arm",
                        "making circles using the {side} arm"),
    "arm_circles:both": ("he makes circles with his two arms", "an athlete circling both of the arms",
                         "swings both arms around in big circles"),
    "clap": ("the audience member claps with both hands", "a fan claps happily", "she is clapping after the concert"),
    "punch:one": ("the fighter punches using his {side} fist", "a boxer throws punches with the {side} hand",
                  "he punches the air with the {side} arm"),
    "punch:both": ("a boxer is boxing with both hands", "the fighter throws left and right punches",
                   "she trains boxing with her two fists"),
    "throw": ("a pitcher throws the ball using his {side} arm", "she throws a stone with the {side} hand",
              "the kid throws a snowball with his {side} hand"),
    "point": ("a guide points somewhere with her {side} hand", "the teacher points using the {side} index finger",
              "he is pointing ahead with the {side} arm"),
    "salute": ("a soldier salutes using the {side} hand", "the officer gives a salute with his {side} arm",
               "she salutes her captain with the {side} hand"),
    "drink": ("a thirsty man drinks water with his {side} hand", "she drinks coffee from a mug in the {side} hand",
              "the guest takes a drink using the {side} hand"),
    "phone": ("he talks on his phone, holding it in the {side} hand", "a businesswoman makes a phone call with her "
              "{side} hand", "holds the telephone at the {side} ear"),
    "hands_on_hips": ("the coach stands with both hands on her hips", "a hero puts his fists on the hips",
                      "she rests both of her hands on the hips"),
    "cross_arms": ("the guard crosses his arms", "a woman stands there with crossed arms",
                   "he folds both arms across the chest"),
    "shrug": ("the boy shrugs his shoulders", "a confused man gives a shrug", "she is shrugging with both shoulders"),
    "flex:one": ("a bodybuilder flexes the {side} biceps", "he flexes his {side} arm muscles",
                 "she shows off the muscles of the {side} arm"),
    "flex:both": ("a bodybuilder flexes both of his biceps", "she flexes the muscles of both arms",
                  "he shows his muscles, flexing both arms"),
    "squat": ("the lifter does deep squats", "a man squats down and stands up again", "she is squatting at the gym"),
    "crouch": ("the hunter crouches down low", "a boy crouches to hide", "he is crouching near the ground"),
    "kneel": ("the knight kneels down on the {side} knee", "a man kneels on his {side} knee to propose",
              "she drops onto her {side} knee"),
    "sit": ("the old lady sits down on a chair", "a tired man takes a seat", "she is sitting on a bench"),
    "jump": ("the kid jumps up high", "a player jumps into the air", "she is jumping for joy"),
    "jumping_jack": ("the soldier does jumping jacks", "a jumping jack workout", "he performs some jumping jacks"),
    "hop": ("the girl hops along using her {side} foot", "a man hops using just the {side} leg", "hopping on the {side} leg only"),
    "kick": ("the striker kicks a ball with her {side} foot", "a fighter kicks high using the {side} leg",
             "he kicks ahead with the {side} leg"),
    "knee_raise:one": ("she raises the {side} knee up high", "an athlete lifts his {side} knee to the chest",
                       "the runner raises up the {side} knee"),
    "knee_raise:both": ("she raises one knee after the other", "an athlete lifts both knees in turn",
                        "he alternates raising his left and right knee"),
    "lunge": ("the trainer does a lunge using her {side} leg", "a woman lunges forward on her {side} leg",
              "he is lunging with the {side} foot in front"),
    "bow": ("the actor bows before the audience", "a pianist takes a bow", "she is bowing deeply"),
    "touch_toes": ("the gymnast bends down to touch her toes", "a man touches his toes",
                   "he reaches down to touch the toes"),
    "stretch:one": ("she stretches her body toward the {side} side", "a yogi leans over to the {side} to stretch",
                    "the man bends sideways to the {side} for a stretch"),
    "stretch:both": ("she stretches from one side to the other", "a yogi stretches toward both sides",
                     "he bends to the left and the right side to stretch"),
    "nod": ("the student nods in agreement", "a man is nodding with the head", "she nods yes"),
    "shake_head": ("the boy shakes the head to say no", "a woman is shaking her head", "he says no and shakes his head"),
    "walk": ("a traveler walks straight ahead", "the old man is walking forward slowly", "she walks down the street"),
    "walk_backwards": ("the boy walks backwards", "a woman is walking backward", "he steps backwards slowly"),
    "run": ("a runner runs forward fast", "the thief is running away", "she runs through the forest"),
    "jog_in_place": ("a woman jogs in place at home", "he is running in place to warm up", "the man is jogging while staying on the spot"),
    "march": ("a soldier marches in place", "the guard is marching", "she marches with her knees high"),
    "side_step": ("the dancer steps sideways to the {side}", "a crab-like walk to the {side}",
                  "he side steps towards the {side}"),
    "turn": ("she turns around toward the {side}", "a man is turning to his {side}", "the guard turns his body to the {side}"),
    "spin": ("a ballerina spins around to the {side}", "he is spinning round and round to the {side}",
             "the skater twirls toward the {side}"),
    "dance": ("a happy couple member dances", "the teenager is dancing to a song", "she dances at the party"),
}


def unseen_prompts() -> list[tuple[str, str | None, str]]:
    """Triples of kind, side and prompt, each sided prompt once per side; side None where the kind has none."""
    triples = []
    for listed, prompts in UNSEEN_PROMPTS.items():
        kind, _, sides = listed.partition(":")
        for prompt in prompts:
            if "{side}" in prompt:
                triples += [(kind, side, prompt.format(side=side)) for side in ("left", "right")]
            else:
                triples.append((kind, "both" if sides == "both" else None, prompt))
    return triples
