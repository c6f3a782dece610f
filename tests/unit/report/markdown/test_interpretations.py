"""The page of a ranking in Markdown."""

from papisim.report.markdown.interpretations import ranking_page
from papisim.report.ranking import Best, Effect, Range, Summary, by_alternative

BEST = Best(score=0.25, read_off=0.5, interpretation={"prompts": "long"}, values={"fig1.speed": 1.5}, orders=False)
RANGES = [
    Range(figure="fig1", claim="speed", published=2.0, smallest=1.0, largest=1.5, reached=False),
    Range(figure="fig1", claim="energy", published=1.0, smallest=0.5, largest=1.5, reached=True),
]
EFFECTS = [
    Effect(choice="prompts", alternative="long", figure="fig1", claim="speed", ratio=1.25),
    Effect(choice="prompts", alternative="long", figure="fig2", claim="speed", ratio=0.5),
]
SUMMARY = Summary(
    schema="s",
    n_interpretations=12_345,
    n_runs=67,
    n_too_large=1_000,
    score_quantiles={},
    best=BEST,
    best_with_orders=None,
    unreached=RANGES[:1],
)
CHOICES = {
    "prompts": {
        "question": "how long",
        "alternatives": {"short": {"why": "w", "source": "s"}, "long": {"why": "v", "source": "t"}},
    }
}


def page(summary: Summary = SUMMARY) -> list[str]:
    main = {("fig1", "speed"): "fig1 2", ("fig3", "x"): "fig3 9"}
    return ranking_page("A Paper", summary, RANGES, EFFECTS, main=main, choices=CHOICES).splitlines()


def test_the_head_counts_interpretations_and_runs():
    assert page()[0] == "# Interpretations of A Paper"
    assert page()[2].startswith("12,345 interpretations, assembled from 67 runs; in 1,000 of them")


def test_the_best_has_its_scores_alternatives_and_values():
    lines = page()
    at = lines.index("## Best interpretation")
    assert lines[at + 2] == "Score 0.250; 0.500 with the numbers that others read off the figures."
    assert "| prompts | long | no |" in lines
    assert "| fig1.speed | 2 | 1.5 |" in lines
    assert not any("keeps every order" in line for line in lines), "there is none"


def test_where_one_keeps_every_order_it_is_shown_too():
    kept = Best(**{**BEST, "interpretation": {"prompts": "short"}})
    lines = page(Summary(**{**SUMMARY, "best_with_orders": kept}))
    assert "## Best interpretation that keeps every order and crossover" in lines
    assert "| prompts | short | yes |" in lines


def test_numbers_that_are_not_reached_stand_out():
    lines = page()
    assert "| fig1 | speed | 2 | 1 | 1.5 | **no** |" in lines
    assert "| fig1 | energy | 1 | 0.5 | 1.5 | yes |" in lines


def test_effects_have_a_column_per_main_number_empty_where_there_is_none():
    lines = page()
    assert "| choice | alternative | fig1 2 | fig3 9 |" in lines
    assert "| prompts | long | ×1.25 |  |" in lines
    assert by_alternative(EFFECTS) == {("prompts", "long"): {("fig1", "speed"): 1.25, ("fig2", "speed"): 0.5}}


def test_choices_are_listed_with_reasons_and_sources():
    assert page()[-3:] == ["- **prompts**: how long", "  - short: w (s)", "  - long: v (t)"]
