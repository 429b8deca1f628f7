"""The waiting jobs, grouped by (model, guidance scale) and packed by sequences.

The group with the oldest job goes first. Places left over are filled from the other groups
of the same model, oldest first, because guidance is a per-sample number; a setting
turns the filling off. A guided job takes two sequences of a batch, an unguided one takes one.

No group starves: nothing is taken past the oldest job of a model. If that job does not
fit, nothing is, and the places that retiring rows free are kept for it. So a job waits for
the jobs that came before it and, each time one of them is taken, for at most one batch.

Every operation costs O(1) per job pushed, taken or cancelled: jobs stand in linked lists by
age, once per model and once per group. Knows no clock, no thread, no model.
"""

from __future__ import annotations

from collections import OrderedDict

from dit_serve.service.wire.job import Job

_ByAge = OrderedDict[int, Job]


class JobQueue:
    """Waiting jobs of all models, oldest first.

    Args:
        fill_across_guidance: whether one batch may mix guidance scales.
    """

    def __init__(self, *, fill_across_guidance: bool = True) -> None:
        self._fill_across_guidance = fill_across_guidance
        self._ages: dict[int, int] = {}
        self._jobs: dict[int, Job] = {}
        self._by_model: dict[str, _ByAge] = {}
        self._by_group: dict[tuple[str, float], _ByAge] = {}
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def push(self, job: Job) -> None:
        """Puts a job at the end.

        Raises:
            ValueError: a job of this id is waiting already.
        """
        if job.id in self._jobs:
            raise ValueError(f"job {job.id} is waiting already")
        group = self._by_group.setdefault(job.group, OrderedDict())  # first: if it raises, nothing has changed
        self._jobs[job.id] = job
        self._ages[job.id] = self._pushed
        self._pushed += 1
        self._by_model.setdefault(job.model, OrderedDict())[job.id] = job
        group[job.id] = job

    def cancel(self, job_id: int) -> Job | None:
        """Removes a waiting job and returns it; None if it does not wait here."""
        job = self._jobs.get(job_id)
        if job is not None:
            self._remove(job)
        return job

    def age(self, model: str) -> int | None:
        """The age number of the oldest job of a model, lower is older; None if none waits."""
        oldest = self._oldest(self._by_model.get(model))
        return None if oldest is None else self._ages[oldest.id]

    def take(self, model: str, places: int, *, running_scale: float | None = None) -> list[Job]:
        """Removes and returns the jobs to admit now, the oldest job's group first.

        Args:
            model: which one has places.
            places: free sequences of its batch.
            running_scale: guidance scale of the rows already in the batch, None if there are
                none; it counts only where a batch may not mix scales.
        """
        oldest = self._oldest(self._by_model.get(model))
        if oldest is None or oldest.sequences > places:
            return []
        if not self._fill_across_guidance and running_scale not in (None, oldest.spec.guidance_scale):
            return []
        taken = self._take_group(oldest.group, places)
        if self._fill_across_guidance:
            taken += self._fill(model, places - sum(job.sequences for job in taken))
        return taken

    def _take_group(self, group: tuple[str, float], places: int) -> list[Job]:
        taken: list[Job] = []
        while (job := self._oldest(self._by_group.get(group))) is not None and job.sequences <= places:
            self._remove(job)
            places -= job.sequences
            taken.append(job)
        return taken

    def _fill(self, model: str, places: int) -> list[Job]:
        taken: list[Job] = []
        while places > 0:
            job = self._oldest(self._by_model.get(model))
            if job is not None and job.sequences > places:  # one place is left: only an unguided job fits
                job = self._oldest(self._by_group.get((model, 1.0)))
            if job is None:
                break
            self._remove(job)
            places -= job.sequences
            taken.append(job)
        return taken

    def _remove(self, job: Job) -> None:
        del self._jobs[job.id], self._ages[job.id], self._by_model[job.model][job.id]
        group = self._by_group[job.group]
        del group[job.id]
        if not group:  # an empty group would stay for ever: guidance scales are the callers' choice
            del self._by_group[job.group]

    @staticmethod
    def _oldest(members: _ByAge | None) -> Job | None:
        return next(iter(members.values())) if members else None
