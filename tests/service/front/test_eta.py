"""How close what streams are told comes to what they take."""

from __future__ import annotations

from random import Random

from dit_serve.service.errors import Problem
from dit_serve.service.front.ledger import Accepted
from tests.service.front.test_admission import World, played


def test_eta_is_close_for_most_streams_of_a_mixed_load() -> None:
    """Five clients, two models, jobs of 1 to 37 steps, and long ones that are given up or expire."""
    ratios: list[float] = []

    def test(world: World) -> None:
        source = Random(11)

        def ask() -> None:
            steps, model = source.choice([1, 2, 5, 10, 20, 37]), source.choice("aab")
            chance = source.random()
            deadline = source.choice([0.03, 0.3, 0.9]) if chance > 0.93 else None
            answer = world.ask(model, steps=steps if chance < 0.82 else 900, count=source.choice([1, 1, 3]),
                               scale=source.choice([1.0, 4.0]), deadline=deadline)  # fmt: skip
            if isinstance(answer, Problem):
                world.at(world.now + 0.02, ask)
            elif deadline is None and chance > 0.82:
                world.at(world.now + 0.2 * source.random(), lambda: leave(answer))
            else:
                follow(answer)

        def leave(accepted: list[Accepted]) -> None:
            world.give_up(accepted)
            ask()

        def follow(accepted: list[Accepted]) -> None:
            asked_at, eta = world.now, world.outlook.place(accepted).eta_seconds

            def look() -> bool:
                if not all(each.result.done() for each in accepted):
                    return False
                if eta is not None and accepted[0].given_up is None:
                    ratios.append((world.now - asked_at) / eta)
                world.at(world.now + 0.05 * source.random(), ask)
                return True

            world.watched.append(look)

        for _ in range(5):
            ask()
        while len(ratios) < 500:
            world.run(world.now + 1)

    played(test, workers=2, noise=0.4)
    ratios.sort()
    assert ratios[len(ratios) // 10] >= 0.5
    assert ratios[len(ratios) * 9 // 10] <= 2
