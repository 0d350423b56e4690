"""What the author of a CESQL expression may not have meant, though it can be read.

Path: compile.py → [lint] → warnings of admission.

Source: spec/eventing.md §26.5, §26.14.
"""

from collections.abc import Iterator

from dataplane.policy.cesql import ast, functions


def lint(root: ast.Node) -> tuple[str, ...]:
    """One sentence each, with where it is."""
    return tuple(_walk(root))


def _walk(node: ast.Node) -> Iterator[str]:
    at = node.at + 1
    match node:
        case ast.Logic(operators=operators):
            if len(set(operators)) > 1:
                mixed = " and ".join(sorted(set(operators)))
                yield f"at character {at}: {mixed} bind alike and to the right here: write parentheses"
        case ast.Comparison(operator=sign, left=ast.Not()):
            yield f"at character {at}: this is (NOT …) {sign} …: NOT binds tighter; write NOT (… {sign} …)"
        case ast.Call(function=name, arguments=arguments):
            if functions.find(name, len(arguments)) is None:
                yield f"at character {at}: there is no function {name} with {len(arguments)} arguments: it always fails"
        case ast.Like(operand=ast.Not()) | ast.In(operand=ast.Not()):
            word = "LIKE" if isinstance(node, ast.Like) else "IN"
            yield f"at character {at}: this is (NOT …) {word} …: write … NOT {word} …"
        case _:
            pass
    for child in ast.children(node):
        yield from _walk(child)
