"""What a trigger says, compiled: where its events go, over which connections. It may say something else any time.

Path: attempts.py → [plan] → deliver.py.

What is on its way when the plan changes goes on over the old one's connections; they are closed behind it.
"""

from typing import NamedTuple

from broker.deliver import Post
from broker.settings import BrokerSettings
from dataplane.net.engine import Engine
from dataplane.resources.triggers import Target, Trigger


class Plan(NamedTuple):
    """What a trigger says, compiled."""

    trigger: Trigger
    subscriber: Post
    dead_letter: Post | None


def compile_plan(trigger: Trigger, engine: Engine, settings: BrokerSettings, before: Plan | None = None) -> Plan:
    """What did not change since `before` is taken over, connections and all. Raises ConfigFault."""
    known = [] if before is None else [p for p in (before.subscriber, before.dead_letter) if p is not None]

    def post(target: Target, *, asks: bool) -> Post:
        key = Post.key_of(target, trigger.delivery, asks)
        for old in known:
            if old.key == key:
                return old
        return Post(engine, target, trigger.delivery, settings, namespace=trigger.namespace, asks=asks)

    subscriber = post(trigger.subscriber, asks=True)
    sink = post(trigger.dead_letter, asks=False) if trigger.dead_letter is not None else None
    return Plan(trigger, subscriber, sink)


class Plans:
    """now: what new attempts go by. Older posts are kept as long as something is on its way there."""

    def __init__(self, trigger: Trigger, engine: Engine, settings: BrokerSettings) -> None:
        """Raises ConfigFault: a target that cannot be called."""
        self._engine = engine
        self._settings = settings
        self.now = compile_plan(trigger, engine, settings)
        self._older: list[Post] = []

    def change(self, trigger: Trigger) -> Plan:
        """The plan until now. Raises ConfigFault and changes nothing."""
        before = self.now
        self.now = compile_plan(trigger, self._engine, self._settings, before)
        for post in (before.subscriber, before.dead_letter):
            if post is not None and post not in (self.now.subscriber, self.now.dead_letter):
                self._older.append(post)
        self.sweep()
        return before

    def sweep(self) -> None:
        """Close what nothing is on its way over any more."""
        if self._older:
            for post in [post for post in self._older if not len(post.line)]:
                self._older.remove(post)
                post.line.close()

    def close(self) -> None:
        """What is on its way is cut."""
        for post in (self.now.subscriber, self.now.dead_letter, *self._older):
            if post is not None:
                post.line.close()
        self._older.clear()
