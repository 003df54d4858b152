"""A phase's curriculum: which prompts it samples, which groups it trains on, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from statistics import fmean
from typing import Any

from qwenlong.config import TARGET_STEPS, LearnerConfig, RlStage
from qwenlong.curricula.entropy import EntropyControl, sampled_entropy
from qwenlong.curricula.gate import Gate
from qwenlong.curricula.history import History
from qwenlong.curricula.sampler import Sampler
from qwenlong.types import Group, Prompt


class Curriculum:
    """Joins sampler, gate and entropy control; one object a phase.

    A step calls ``start_step``, then ``draw`` and ``observe`` until ``draw`` returns nothing, then
    ``finish_step``.

    Args:
        prompts: the phase's own prompts.
        earlier: the prompts of the phases before.
    """

    def __init__(
        self,
        stage: RlStage,
        learner: LearnerConfig,
        prompts: Sequence[Prompt],
        earlier: Sequence[Prompt],
        seed: int | str,
    ) -> None:
        self.history = History()
        self.sampler = Sampler(prompts, self.history, seed, stage.sampler, stage.mix, earlier)
        self.gate = Gate(stage.batch // stage.group, stage.refill, stage.staleness)
        self.entropy: EntropyControl | None = None
        if learner.entropy_high is not None and learner.entropy_low is not None:
            self.entropy = EntropyControl(learner.entropy_high, learner.entropy_low)
        self.target = stage.target
        self.seed = seed
        self.rewards: list[float] = []
        """Mean rewards of the last ``TARGET_STEPS`` steps."""
        self.sampled: list[Group] = []
        """The groups that the step has sampled, trained on or not."""

    def start_step(self, version: int) -> None:
        """Starts a step that samples with the policy's ``version``."""
        self.history.step += 1
        self.gate.start_step(version)
        self.sampled = []

    def draw(self) -> list[Prompt]:
        """The prompts to sample next; none when the step is full or may not sample further."""
        wanted = self.gate.wanted()
        return self.sampler.draw(wanted, self.gate.ids()) if wanted else []

    def observe(self, groups: Sequence[Group]) -> None:
        """Takes the scored groups of the prompts that ``draw`` returned."""
        self.history.observe(groups)
        self.gate.admit(groups)
        self.sampled += groups

    def finish_step(self) -> list[Group]:
        """The groups to train on. Target and entropy control see all groups that were sampled."""
        rewards = [reward for group in self.sampled for reward in group.rewards]
        self.rewards = [*self.rewards, fmean(rewards)][-TARGET_STEPS:]
        if self.entropy:
            self.entropy.observe(sampled_entropy(self.sampled))
        groups = self.gate.finish_step()
        if self.gate.refill:
            # The gate puts carried groups first and flat ones last. Shuffled, no mini-batch
            # consists of stale or of flat groups alone.
            Random(f"{self.seed} step {self.history.step}").shuffle(groups)
        return groups

    def set_aside(self, trained: Sequence[Group]) -> list[Group]:
        """The groups that the step sampled and does not train on."""
        return [group for group in self.sampled if not any(group is each for each in trained)]

    def masked(self, advantages: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
        """The advantages, negative ones set to 0 while the entropy is too high."""
        return self.entropy.masked(advantages) if self.entropy else list(advantages)

    @property
    def reached(self) -> bool:
        """Whether the mean reward of the last ``TARGET_STEPS`` steps has reached the target."""
        full = len(self.rewards) == TARGET_STEPS
        return self.target is not None and full and fmean(self.rewards) >= self.target

    def metrics(self) -> dict[str, float]:
        masking = {"aepo_masking": float(self.entropy.masking)} if self.entropy else {}
        return {**self.sampler.metrics(), **self.gate.metrics(), **masking}

    def state(self) -> dict[str, Any]:
        """JSON; everything that the next draw and the next step depend on."""
        return {
            "history": self.history.state(),
            "sampler": self.sampler.state(),
            "gate": self.gate.state(),
            "masking": bool(self.entropy and self.entropy.masking),
            "rewards": self.rewards,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues the phase that ``state`` was taken from."""
        self.continue_from(state)
        self.sampler.restore(state["sampler"])
        self.gate.restore(state["gate"], [*self.sampler.prompts, *self.sampler.earlier])
        self.rewards = list(state["rewards"])

    def continue_from(self, state: Mapping[str, Any]) -> None:
        """Takes the history and the entropy control from the phase before.

        Groups that wait there are dropped: they were sampled under another RoPE and length.
        """
        self.history.restore(state["history"])
        if self.entropy:
            self.entropy.masking = state["masking"]
