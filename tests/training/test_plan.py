"""Steps and rates of a training, and the settings that a resumed one may change."""

from __future__ import annotations

from dupmine.staged import load_staged
from dupmine.training.plan import TrainingPlan, prolong, resume_basis
from dupmine.training.settings import ClassifierTrainingSettings, CrossEncoderTraining

STABLE = {"training.schedule": "warmup-stable-decay", "training.warmup": 0.01, "training.max_steps": 20000}


def make_plan(**changes: object) -> tuple[CrossEncoderTraining, TrainingPlan]:
    settings = load_staged(
        CrossEncoderTraining, None, STABLE | {k.replace("__", "."): v for k, v in changes.items()}
    )
    return settings, TrainingPlan.make(settings.training, 5073)


def test_steps_follow_from_the_settings() -> None:
    plan = TrainingPlan.make(ClassifierTrainingSettings(epochs=3, accumulate=2), 101)
    assert (plan.per_epoch, plan.steps, plan.warmup, plan.evaluate_every, plan.save_every) == (
        51,
        153,
        15,
        12,
        12,
    )
    settings, plan = make_plan(training__learning_rate=8e-5)
    assert plan.schedule(settings.training) == {
        "max_steps": 20000,
        "warmup_steps": 200,
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": 2000, "decay_type": "linear"},
    }


def test_a_stable_rate_may_be_prolonged_between_warm_up_and_decay() -> None:
    before, now = (
        resume_basis(*make_plan(), {}),
        resume_basis(*make_plan(training__max_steps=30000, training__decay=0.2), {}),
    )
    assert before != now
    for step in (300, 18000):  # the new warm-up ends at 300, the old decay begins at 18,000
        assert prolong(before, now, step) == now
    for step in (299, 18001):
        assert prolong(before, now, step) == before


def test_other_settings_may_not_change() -> None:
    before, now = (
        resume_basis(*make_plan(), {}),
        resume_basis(*make_plan(training__max_steps=30000, training__seed=1), {}),
    )
    assert prolong(before, now, 1000)["training.seed"] == "42"
    linear = resume_basis(*make_plan(training__schedule="linear"), {})
    longer = resume_basis(*make_plan(training__schedule="linear", training__max_steps=30000), {})
    assert prolong(linear, longer, 5000) == linear


def test_where_it_runs_is_not_part_of_the_basis() -> None:
    here = resume_basis(*make_plan(), {"training pairs": "abc"})
    assert here["training pairs"] == "abc"
    assert here == resume_basis(
        *make_plan(compute__threads=3, compute__device="cpu", training__keep_checkpoints=9),
        {"training pairs": "abc"},
    )
