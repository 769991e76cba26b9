"""A graph without a model: it answers the last message in upper case."""

from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    """What a thread keeps."""

    text: str
    answer: str


async def shout(state: State) -> State:
    """Answer in upper case."""
    return {"answer": state.get("text", "").upper()}


builder = StateGraph(State)
builder.add_node("shout", shout)
builder.add_edge(START, "shout")
builder.add_edge("shout", END)
graph = builder.compile()
