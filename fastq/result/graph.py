"""Who sent whom, as a graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class DependencyGraph:
    """Nodes and the arrows between them.

    Example::

        graph = add.delay(2, 3).graph
        with open("tasks.dot", "w") as file:
            graph.to_dot(file)
    """

    def __init__(self, it: Any = None, formatter: Any = None) -> None:
        self.formatter = formatter
        self.adjacent: dict[Any, list[Any]] = {}
        for node, below in it or ():
            self.add_arc(node)
            for child in below:
                self.add_arc(child)
                self.add_edge(node, child)

    def add_arc(self, node: Any) -> None:
        """Add a node."""
        self.adjacent.setdefault(node, [])

    def add_edge(self, parent: Any, child: Any) -> None:
        """Add an arrow; both ends must be there."""
        self.adjacent[parent].append(child)

    def edges(self) -> list[Any]:
        """Return the nodes from which arrows go."""
        return [node for node, below in self.adjacent.items() if below]

    def valency_of(self, node: Any) -> int:
        """Return how many nodes can be reached from *node*, and itself. Raises KeyError."""
        seen, stack = set(), [node]
        while stack:
            top = stack.pop()
            if top not in seen:
                seen.add(top)
                stack += self.adjacent[top]
        return len(seen)

    def topsort(self) -> list[Any]:
        """Return the nodes, each after those to which its arrows go."""
        done: dict[Any, None] = {}
        stack = [(node, False) for node in self.adjacent]
        while stack:
            node, is_open = stack.pop()
            if is_open:
                done[node] = None
            elif node not in done:
                stack.append((node, True))
                stack += [(child, False) for child in self.adjacent[node] if child not in done]
        return list(done)

    def to_dot(self, file: Any, formatter: Any = None) -> None:
        """Write the graph to *file* in the language of Graphviz."""
        named = {node: _quoted(str(node)) for node in self.adjacent}
        file.write("digraph {\n")
        for node, below in self.adjacent.items():
            file.write(f"    {named[node]};\n")
            for child in below:
                file.write(f"    {named[node]} -> {named[child]};\n")
        file.write("}\n")

    def items(self) -> Any:
        """Return the pairs of each node and those to which its arrows go."""
        return self.adjacent.items()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __getitem__(self, node: Any) -> list[Any]:
        return self.adjacent[node]

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, node: Any) -> bool:
        return node in self.adjacent

    def __repr__(self) -> str:
        lines = [f"{node}({len(below)})" + "".join(f"\n     {child}" for child in below)
                 for node, below in self.adjacent.items()]
        return "\n".join(lines)


def build(top: Any, intermediate: bool, formatter: Any) -> DependencyGraph:
    """Return the graph of *top* and all below it. Raises IncompleteStream."""
    graph = DependencyGraph(formatter=formatter)
    for parent, node in top.iterdeps(intermediate):
        graph.add_arc(node)
        if parent is not None:
            graph.add_edge(parent, node)
    return graph


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
