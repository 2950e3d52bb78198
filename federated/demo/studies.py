"""What the demo studies: where images come from, and how much is done with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from export.evaluate import EvaluateOptions
from export.recipes import recipe
from export.tasks.base import TEST
from export.tasks.digits import DigitTasks
from export.tasks.glyphs import GlyphOptions, GlyphTasks
from export.tasks.omniglot import ARCHIVE, OmniglotTasks
from export.tasks.sampler import EpisodeOptions
from federated.demo.few_shot import FewShotOptions
from federated.demo.result import Words
from federated.demo.rounds import FederatedOptions
from federated.population import Population, PopulationOptions, open_population

if TYPE_CHECKING:
    from pathlib import Path

    from export.learners.recipe import Recipe
    from export.tasks.base import ImagePool, TaskSource

LEARNER = "prototypical"
WAYS = 10
DIGIT_IMAGES = 5
"""Images of each digit that a simulated writer has."""
OMNIGLOT_STEPS = 700
"""Outer steps on Omniglot: a short budget, a fraction of the full recipe's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOptions:
    """One run of the demo.

    Attributes:
        seed: Of everything that is drawn.
        seeds: Draws of the new user's examples, at least 2.
        data: Folder of the real data sets; None: the digits only.
        quick: A tiny run that shows that everything works.
    """

    seed: int = 0
    seeds: int = 20
    data: Path | None = None
    quick: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """One source of tasks and the sizes of all that is done with it.

    Attributes:
        name: Short name, for files and JSON.
        words: How the report speaks of it.
        source: What meta-training and the export gates use.
        recipe: How to meta-train.
        gate: Episodes of the quantization gate.
        max_drop: Largest accuracy loss (0..1) that quantization may cost.
        new_user: Images that training never saw.
        few_shot: What the new user teaches.
        story_shots: Examples of each class in the Personalizer's story.
        population: The writers.
        federated: The rounds.
        latency_repeats: Timed calls of each graph.
    """

    name: str
    words: Words
    source: TaskSource
    recipe: Recipe
    gate: EvaluateOptions = field(default_factory=lambda: EvaluateOptions(episodes=300, queries=5))
    max_drop: float = 0.005
    new_user: ImagePool
    few_shot: FewShotOptions
    story_shots: int = 5
    population: Population
    federated: FederatedOptions
    latency_repeats: int = 300


def open_studies(options: DemoOptions) -> tuple[list[Study], list[str]]:
    """The studies that the data allow, and notes for the reader.

    Raises:
        BadDataError: The Omniglot archive is there but damaged.
        MissingExtraError: scikit-learn, which carries the digits, is not installed.
    """
    studies, notes = [_digits(options)], []
    if options.data is not None and (options.data / ARCHIVE).is_file():
        studies.append(_omniglot(options, options.data))
        full = recipe(LEARNER, "omniglot").train.steps
        notes.append(
            f"On Omniglot the demo trains for {OMNIGLOT_STEPS:,} of the full recipe's {full:,} "
            "steps to stay short; its figures are below those of a full training."
        )
    elif options.data is not None:
        notes.append(f"The data folder holds no {ARCHIVE}, so Omniglot was left out.")
    if options.quick:
        notes.append("A quick run: training was cut to almost nothing; the figures mean nothing.")
    return [_quick(study) if options.quick else study for study in studies], notes


def _digits(options: DemoOptions) -> Study:
    glyphs = (
        GlyphOptions(train_classes=60, held_out_classes=24, writers=40)
        if options.quick
        else GlyphOptions()
    )
    digits = DigitTasks()
    return Study(
        name="digits",
        words=Words(
            title="A new user's handwritten digits",
            things="digits",
            people="writers",
            trained_on="invented characters (glyphs) only; it saw no digit",
            tested_on=(
                "real handwritten digits (scikit-learn), of which a fixed two thirds serve as "
                "test images; writers are simulated by giving each a style of their own"
            ),
        ),
        source=GlyphTasks(seed=options.seed, options=glyphs),
        recipe=recipe(LEARNER, "glyphs"),
        new_user=digits.pool(TEST),
        few_shot=FewShotOptions(ways=WAYS, queries=100, seeds=options.seeds, seed=options.seed),
        population=open_population(
            "digits",
            PopulationOptions(writers=12, held_out=10, images=DIGIT_IMAGES, seed=options.seed),
            max_classes=WAYS,
        ),
        federated=FederatedOptions(prior_count=DIGIT_IMAGES, seed=options.seed),
    )


def _omniglot(options: DemoOptions, data: Path) -> Study:
    full = recipe(LEARNER, "omniglot")
    short = replace(full.train, steps=OMNIGLOT_STEPS, validate_every=OMNIGLOT_STEPS // 2)
    upright = OmniglotTasks(data, split="vinyals", rotations=False)
    return Study(
        name="omniglot",
        words=Words(
            title="New characters of Omniglot",
            things="characters",
            people="drawers",
            trained_on="the training characters of Vinyals' split and their turns",
            tested_on=(
                "its test characters, which training never saw; the drawers of one alphabet, all "
                "of it held out, play the fleet, each with the one image a character that they "
                "drew"
            ),
        ),
        source=OmniglotTasks(data, split="vinyals"),
        recipe=replace(full, train=short),
        new_user=_plainly_named(upright.pool(TEST)),
        few_shot=FewShotOptions(ways=WAYS, queries=10, seeds=options.seeds, seed=options.seed),
        population=open_population(
            "omniglot",
            PopulationOptions(writers=10, held_out=10, images=1, seed=options.seed),
            max_classes=WAYS,
            data=data,
        ),
        federated=FederatedOptions(prior_count=1, seed=options.seed),
    )


def _plainly_named(pool: ImagePool) -> ImagePool:
    """Upright characters under short names: "Alphabet/character07/rot000" is "Alphabet 07"."""
    names = []
    for name in pool.class_names:
        alphabet, character, _ = name.split("/")
        names.append(f"{alphabet.replace('_', ' ')} {character.removeprefix('character')}")
    return replace(pool, class_names=names)


def _quick(study: Study) -> Study:
    episodes = EpisodeOptions(ways=20, queries=1, symmetric=True)
    train = replace(study.recipe.train, steps=30, episodes=episodes, validation=None)
    return replace(
        study,
        recipe=replace(study.recipe, hidden=16, train=train),
        gate=EvaluateOptions(episodes=20, queries=5),
        max_drop=0.1,
        few_shot=replace(study.few_shot, queries=10, seeds=min(3, study.few_shot.seeds)),
        federated=replace(study.federated, rounds=3),
        latency_repeats=10,
    )
