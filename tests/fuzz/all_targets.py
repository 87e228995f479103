"""All readers of foreign bytes, by name."""

from __future__ import annotations

from fuzz import deflated, doors, proxies, texts, tokens, wires
from fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for module in (texts, tokens, wires, doors, proxies, deflated) for target in module.TARGETS
}
