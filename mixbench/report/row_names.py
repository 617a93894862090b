"""What a row is called among its neighbours, and the colour and marker of its family, the same in every figure."""

from collections.abc import Sequence
from dataclasses import dataclass

from mixbench.results.differences import leaves
from mixbench.results.summary import Group, SummaryRow
from mixbench.run.record import Record

# seaborn's colour-blind safe palette, what is faint on paper or in the dark replaced; markers tell them apart too.
_COLOURS = [
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#56b4e9",
    "#ca9161",
    "#949494",
    "#b3446c",
    "#8f8f2f",
]
_MARKERS = [
    "o",
    "s",
    "D",
    "^",
    "v",
    "P",
    "X",
    "p",
    "h",
    "<",
    ">",
]  # 11 of them: colour and marker together repeat after 110 families


MOST_APART = 3  # keys of a recipe that are named beside it


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str


def looks(records: list[Record]) -> dict[str, Look]:
    """A look for every family of a run, by the family's name."""
    families = sorted({record.family for record in records}, key=lambda family: (family.casefold(), family))
    return {family: Look(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for i, family in enumerate(families)}


def by_images(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """The rows that can be set against each other, by what they were tested on, in the suite's order of datasets."""
    found: dict[str, list[Group]] = {}
    for dataset in dict.fromkeys(group.row.dataset for group in groups):
        for group in groups:
            if group.row.dataset == dataset:
                found.setdefault(group.row.images, []).append(group)
    return found


def settings(groups: list[Group]) -> list[list[str]]:
    """For each row what sets it apart from its neighbours but its label: the settings that vary among them."""
    facts = [_facts(group) | {"recipe": recipe} for group, recipe in zip(groups, _recipes(groups), strict=True)]
    varying = [name for name in (facts[0] if facts else {}) if len({fact[name] for fact in facts} - {""}) > 1]
    labels = [group.row.label for group in groups]
    return [
        ([group.row.model] if labels.count(group.row.label) > 1 and group.row.model != group.row.label else [])
        + [fact[name] for name in varying if fact[name]]
        for group, fact in zip(groups, facts, strict=True)
    ]


def names(groups: list[Group]) -> list[str]:
    """A name for each row, on one line: its label, then what sets it apart."""
    return [" · ".join([group.row.label, *apart]) for group, apart in zip(groups, settings(groups), strict=True)]


def seeds(row: SummaryRow) -> str:
    return "single seed" if row.n_seeds == 1 else f"{row.n_seeds} seeds"


def _recipes(groups: list[Group]) -> list[str]:
    """Each row's recipe by its name, and by what sets it apart from one of the same name that its label stands with."""
    alike: dict[tuple[str, str], list[dict[str, str]]] = {}
    recipes = [dict(leaves(group.records[0].details.trial.recipe.model_dump(mode="json"))) for group in groups]
    for group, recipe in zip(groups, recipes, strict=True):
        alike.setdefault((group.row.label, recipe["name"]), []).append(recipe)
    said = []
    for group, recipe in zip(groups, recipes, strict=True):
        others = alike[group.row.label, recipe["name"]]
        apart = [f"{key} {text}" for key, text in recipe.items() if any(other.get(key) != text for other in others)]
        said.append(", ".join([f"recipe {recipe['name']}", *apart[:MOST_APART]]))
    return said


def _facts(group: Group) -> dict[str, str]:
    row, trial = group.row, group.records[0].details.trial
    return {
        "image_size": f"{row.image_size} px",
        "recipe": "",
        "precision": row.precision,
        "memory_format": row.memory_format,
        "compiled": "compiled" if row.compiled else "not compiled",
        "infer_batch_size": f"batch {trial.infer_batch_size}",
        "layout": f"{row.nodes} × {trial.processes_per_node} processes",
        "device": row.device,
        "split": f"{row.split} split",
        "run": row.run,
    }
