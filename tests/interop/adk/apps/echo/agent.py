"""An agent without a model: it answers with three events, a pause between them."""

import asyncio
from collections.abc import AsyncGenerator

from google.adk.agents import BaseAgent
from google.adk.agents.invocation_context import InvocationContext
from google.adk.events import Event
from google.genai import types

PAUSE = 0.3
"""Seconds between two events."""


class Counting(BaseAgent):
    """Says one, two, three."""

    async def _run_async_impl(self, ctx: InvocationContext) -> AsyncGenerator[Event, None]:
        for place, word in enumerate(("one", "two", "three")):
            if place:
                await asyncio.sleep(PAUSE)
            content = types.Content(role="model", parts=[types.Part(text=word)])
            yield Event(author=self.name, invocation_id=ctx.invocation_id, content=content)


root_agent = Counting(name="echo")
