"""How each family is asked: wordings for the router's data, others for the shifted split.

A wording never names the condition of the clip. Lead-ins add variety; trap lead-ins name a
quantity that is not asked and belong to the test split (and the LALM's schooling) alone.
"""

from __future__ import annotations

TRAIN: dict[str, tuple[str, ...]] = {
    "note": (
        "Which note is played last?",
        "What is the name of the note at the end?",
        "Name the last tone you hear.",
    ),
    "interval": (
        "How far apart are the two notes?",
        "What is the distance between the first note and the second?",
        "Which interval do the two notes form?",
    ),
    "direction": (
        "Is the second note higher or lower than the first?",
        "Compared with the first note, the second is what?",
        "How does the melody move from the first note to the second?",
    ),
    "chord": (
        "Which kind of chord is this?",
        "What is the quality of the chord?",
        "The three notes form a chord of which kind?",
    ),
    "key": (
        "In which key is this piece?",
        "What key do the chords settle in?",
        "Which key does the cadence confirm?",
    ),
    "tempo": (
        "How fast is the beat?",
        "What is the tempo of the knocking?",
        "At how many beats per minute does it go?",
    ),
    "count": (
        "How many sounds were played?",
        "How many separate tones did the player strike?",
        "Count the tones that were struck.",
    ),
    "order": (
        "Which sound comes first?",
        "What do you hear at the very start?",
        "Which of these opens the clip?",
    ),
    "longer": (
        "Which of the two tones lasts longer?",
        "Of the two tones, which is the longer one?",
        "Which tone goes on for more time?",
    ),
    "gap": (
        "Where is the tone interrupted?",
        "When does the tone pause?",
        "In which part of the clip does the tone break off?",
    ),
    "trend": (
        "How does the loudness of the tone change?",
        "What happens to the volume of the tone?",
        "Does the level of the tone rise or fall?",
    ),
    "louder": (
        "Which of the two tones is louder?",
        "Of the two tones, which has more volume?",
        "Which tone is stronger?",
    ),
    "timbre": (
        "Which instrument is playing?",
        "What makes this sound?",
        "Name the source of the tune.",
    ),
    "brightness": (
        "Which of the two sounds is brighter?",
        "Which noise is sharper in colour?",
        "Of the two noises, which one is less dull?",
    ),
    "voiced": (
        "What is in the clip?",
        "Is there a pitch in this sound?",
        "Do you hear a tone, noise or both?",
    ),
}

OOD: dict[str, tuple[str, ...]] = {
    "note": ("Tell which pitch ends the clip.", "What is the final note?"),
    "interval": ("Give the interval between the notes.", "How wide is the step of the melody?"),
    "direction": ("Does the tune go up or down?", "Where does the second note lie?"),
    "chord": ("Identify the chord.", "What sort of triad is it?"),
    "key": ("Name the key of the music.", "What is the home key here?"),
    "tempo": ("Estimate the speed of the pulse.", "How many bpm is this?"),
    "count": ("What is the number of tones?", "How often was the key hit?"),
    "order": ("What is heard before the others?", "Which event leads?"),
    "longer": ("Which tone takes more time?", "Which one has the greater length?"),
    "gap": ("Where does the tone stop for a moment?", "At what point is there a break?"),
    "trend": (
        "Describe how the level of the tone develops.",
        "Is the tone getting louder?",
    ),
    "louder": ("Which tone has the higher level?", "Which one is played with more force?"),
    "timbre": ("What kind of instrument is this?", "Who could be playing this tune?"),
    "brightness": ("Which noise lies higher in colour?", "Which one sounds more brilliant?"),
    "voiced": ("Is this tonal or noisy?", "What does the recording hold?"),
    "highest": ("Which of the three notes is the highest?", "Where is the top note?"),
    "duration": ("How long does the tone last?", "What is the length of the tone?"),
}

LEADS: tuple[str, ...] = ("", "", "Listen to the clip.", "In this recording:", "Please answer:")
OOD_LEADS: tuple[str, ...] = ("", "Consider the audio.", "Here is a sound.")

TRAPS: dict[str, tuple[str, str]] = {
    "pitch": ("Ignoring the pitch,", "Whatever the pitch may be,"),
    "chord": ("Leaving the chord aside,", "Never mind the chord:"),
    "tempo": ("Ignoring the tempo,", "Apart from the tempo,"),
    "onsets": ("Never mind how many onsets there are:", "Setting the count aside,"),
    "loudness": ("Regardless of the loudness,", "Ignoring the loudness,"),
    "segments": ("Whatever the pauses,", "Leaving silence aside,"),
}
"""Tool name -> lead-ins that name its quantity without asking for it."""
