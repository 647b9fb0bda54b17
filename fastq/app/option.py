"""How an option that a task leaves open reads as its setting."""

from __future__ import annotations

from typing import Any


class FromConfig:
    """A task option that reads as a setting of the task's app until the task sets it."""

    __slots__ = ("setting",)

    def __init__(self, setting: str) -> None:
        self.setting = setting

    def __get__(self, task: Any, owner: Any = None) -> Any:
        return None if task is None or task.app is None else getattr(task.app.conf, self.setting)


class OnFailure(FromConfig):
    """As `FromConfig`; where the setting says nothing, the older one for both cases decides, else True."""

    __slots__ = ()

    def __get__(self, task: Any, owner: Any = None) -> Any:
        value = super().__get__(task, owner)
        if value is None and task is not None:
            value = task.acks_on_failure_or_timeout
            return True if value is None else value
        return value
