"""AgentOS with an agent whose model is a function: it repeats what was said last."""

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.models.base import Model
from agno.models.message import Message
from agno.models.response import ModelResponse
from agno.os import AgentOS


class Parrot(Model):
    """Answers with the last message."""

    def invoke(self, messages: list[Message], assistant_message: Message, **_: Any) -> ModelResponse:
        """Answer at once."""
        return ModelResponse(role="assistant", content=f"You said: {messages[-1].content}")

    async def ainvoke(self, messages: list[Message], assistant_message: Message, **_: Any) -> ModelResponse:
        """Answer at once."""
        return self.invoke(messages, assistant_message)

    def invoke_stream(self, messages: list[Message], assistant_message: Message, **_: Any) -> Iterator[ModelResponse]:
        """Answer in one piece."""
        yield self.invoke(messages, assistant_message)

    async def ainvoke_stream(
        self, messages: list[Message], assistant_message: Message, **_: Any
    ) -> AsyncIterator[ModelResponse]:
        """Answer in one piece."""
        yield self.invoke(messages, assistant_message)

    def _parse_provider_response(self, response: ModelResponse, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: ModelResponse) -> ModelResponse:
        return response


agent = Agent(
    id="parrot",
    name="parrot",
    model=Parrot(id="parrot"),
    db=SqliteDb(db_file="sessions.db"),
    add_history_to_context=True,
    telemetry=False,
)
app = AgentOS(agents=[agent], telemetry=False).get_app()

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
