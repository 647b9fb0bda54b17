"""Routing as slow, plain Python: the oracle of ext/route.pyx, on the standard library's fnmatch and re."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from typing import Any

IS_GLOB = re.compile(r"[*?[]")


class Patterns:
    def __init__(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        self.exact: dict[str, Any] = {}
        self.ordered: list[tuple[Any, Any]] = []
        for pattern, route in pairs:
            if not isinstance(pattern, str):
                self.ordered.append((pattern, route))
            elif IS_GLOB.search(pattern):
                self.ordered.append((re.compile(translate(pattern)), route))
            elif pattern not in self.exact:
                self.exact[pattern] = route

    def find(self, name: str) -> Any:
        if name in self.exact:
            return self.exact[name]
        for pattern, route in self.ordered:
            if pattern.match(name):
                return route
        return None


class RouteTable:
    def __init__(self, routers: Iterable[Any], finish: Callable[[Any], Any]) -> None:
        self.routers = list(routers)
        self.finish = finish
        self.cache: dict[str, Any] = {}

    def lookup(self, name: str) -> Any:
        if name in self.cache:
            return self.cache[name]
        self.cache[name] = found = self.settle(name)
        return found

    def settle(self, name: str) -> Any:
        for router in self.routers:
            if not isinstance(router, Patterns):
                return None
            answer = router.find(name)
            if answer is not None:
                return self.finish(answer)
        return self.finish(None)


def topic_match(pattern: str, key: str) -> bool:
    patterns, words = pattern.split(".") if pattern else [], key.split(".") if key else []

    def match(i: int, j: int) -> bool:
        if i == len(patterns):
            return j == len(words)
        if patterns[i] == "#":
            return any(match(i + 1, k) for k in range(j, len(words) + 1))
        return j < len(words) and patterns[i] in ("*", words[j]) and match(i + 1, j + 1)

    return match(0, 0)
