"""A phase's curriculum: what it draws, admits and masks, when it ends, and its state."""

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
    """Of one phase; the history and the entropy control go on from phase to phase.

    Args:
        prompts, earlier: the phase's own, and those of the phases before.
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
        """Mean rewards of the last steps."""
        self.sampled: list[Group] = []
        """Of the step, whether it trains on them or not."""

    def begin(self, version: int) -> None:
        """Starts a step of the policy's ``version``."""
        self.history.step += 1
        self.gate.begin(version)
        self.sampled = []

    def draw(self) -> list[Prompt]:
        """The prompts to sample next; none when the step is full or may not sample further."""
        wanted = self.gate.wanted()
        return self.sampler.draw(wanted, self.gate.ids()) if wanted else []

    def observe(self, groups: Sequence[Group]) -> None:
        self.history.observe(groups)
        self.gate.admit(groups)
        self.sampled += groups

    def close(self) -> list[Group]:
        """The groups that the step trains on; reward and entropy are of all that it sampled."""
        rewards = [reward for group in self.sampled for reward in group.rewards]
        self.rewards = [*self.rewards, fmean(rewards)][-TARGET_STEPS:]
        if self.entropy:
            self.entropy.observe(sampled_entropy(self.sampled))
        groups = self.gate.close()
        if self.gate.refill:  # no mini-batch is to be of stale or of flat groups alone
            Random(f"{self.seed} step {self.history.step}").shuffle(groups)
        return groups

    def set_aside(self, taken: Sequence[Group]) -> list[Group]:
        """What the step sampled and does not train on."""
        return [group for group in self.sampled if not any(group is each for each in taken)]

    def masked(self, advantages: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
        return self.entropy.masked(advantages) if self.entropy else list(advantages)

    @property
    def reached(self) -> bool:
        """Whether the phase has its target."""
        full = len(self.rewards) == TARGET_STEPS
        return self.target is not None and full and fmean(self.rewards) >= self.target

    def metrics(self) -> dict[str, float]:
        masking = {"aepo_masking": float(self.entropy.masking)} if self.entropy else {}
        return {**self.sampler.metrics(), **self.gate.metrics(), **masking}

    def state(self) -> dict[str, Any]:
        """JSON; all that the next draw and the next step depend on."""
        return {
            "history": self.history.state(),
            "sampler": self.sampler.state(),
            "gate": self.gate.state(),
            "masking": bool(self.entropy and self.entropy.masking),
            "rewards": self.rewards,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on within a phase."""
        self.take_over(state)
        self.sampler.restore(state["sampler"])
        self.gate.restore(state["gate"], [*self.sampler.prompts, *self.sampler.earlier])
        self.rewards = list(state["rewards"])

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Goes on from the phase before: what is known of examples, and the entropy control.

        Groups that wait stay behind, for they were sampled under another RoPE and length.
        """
        self.history.restore(state["history"])
        if self.entropy:
            self.entropy.masking = state["masking"]
