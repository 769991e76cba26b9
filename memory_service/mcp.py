"""The tools over MCP: a table of name, arguments and call. Arguments have the names that they have over REST."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import BaseModel, ValidationError

from memory_service.model import Memory, MemoryType, Page, SessionContext, SessionSummary, Statistics, Stored
from memory_service.requests import (
    ContextOf,
    NewContent,
    NewMemory,
    NewMessage,
    NewWorkingContent,
    OfUser,
    Search,
    SummaryOf,
)
from memory_service.service import MemoryService
from service_kit.sql.database import DatabaseUnavailable
from service_kit.web.problems import Explanation, Refused, invalid, unavailable

NAME: Final = "memory-service"


@dataclass(frozen=True, slots=True)
class _Tool:
    """One tool: the models of its arguments and of its result, and its call from the one to the other."""

    name: str
    description: str
    takes: type[BaseModel]
    gives: type[BaseModel]
    call: Callable[[Any], Awaitable[BaseModel]]
    reads_only: bool = False

    def definition(self) -> Tool:
        """The tool as a client sees it."""
        return Tool(
            name=self.name,
            description=self.description,
            input_schema=self.takes.model_json_schema(),
            output_schema=self.gives.model_json_schema(mode="serialization"),
            annotations=ToolAnnotations(read_only_hint=self.reads_only, destructive_hint=False, open_world_hint=False),
        )


def memory_server(service: MemoryService, version: str) -> Server[Any]:
    """An MCP server that offers the service's tools."""
    tools = {tool.name: tool for tool in [*_session_tools(service), *_storing_tools(service), *_finding_tools(service)]}
    definitions = {name: tool.definition() for name, tool in tools.items()}

    async def list_tools(
        _context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=list(definitions.values()))

    async def call_tool(_context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"there is no tool {params.name!r}")
        return await _result(tool, params.arguments or {})

    def input_schema(name: str) -> dict[str, Any] | None:
        return definitions[name].input_schema if name in definitions else None

    return Server(
        NAME,
        version=version,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=input_schema,
    )


async def _result(tool: _Tool, arguments: Mapping[str, Any]) -> CallToolResult:
    """The result of the tool. A failure is a result too, so that a model can read its reason."""
    try:
        given = await tool.call(tool.takes.model_validate(arguments))
    except ValidationError as error:
        return _failure(invalid(error))
    except DatabaseUnavailable:
        return _failure(unavailable())
    except Refused as refused:
        return _failure(refused)
    text = TextContent(type="text", text=given.model_dump_json())
    return CallToolResult(content=[text], structured_content=given.model_dump(mode="json"))


def _failure(refused: Refused) -> CallToolResult:
    problem = Explanation(detail=refused.detail, reason=refused.reason)
    return CallToolResult(content=[TextContent(type="text", text=problem.model_dump_json())], is_error=True)


def _session_tools(service: MemoryService) -> list[_Tool]:
    return [
        _Tool(
            "store_session_message",
            "Store a message of a session.",
            NewMessage,
            Stored,
            service.store_message,
        ),
        _Tool(
            "get_session_context",
            "Get the latest messages of a session, oldest first, and its summary.",
            ContextOf,
            SessionContext,
            service.sessions.context,
            reads_only=True,
        ),
        _Tool(
            "summarize_session",
            "Summarize a session in sentences of its own and keep the summary for its context.",
            SummaryOf,
            SessionSummary,
            service.sessions.summarize,
        ),
    ]


def _storing_tools(service: MemoryService) -> list[_Tool]:
    def storing(memory_type: MemoryType, description: str, takes: type[NewContent] = NewContent) -> _Tool:
        async def store(new: NewContent) -> Memory:
            return await service.store_memory(NewMemory(**{**new.model_dump(), "memory_type": memory_type}))

        return _Tool(f"store_{memory_type}_memory", description, takes, Memory, store)

    return [
        storing(MemoryType.FACTUAL, "Store a fact about the user or the world."),
        storing(MemoryType.EPISODIC, "Store something that happened."),
        storing(MemoryType.SEMANTIC, "Store a concept and what it means."),
        storing(MemoryType.PROCEDURAL, "Store how something is done."),
        storing(MemoryType.WORKING, "Store something for a while: ttl_seconds.", NewWorkingContent),
    ]


def _finding_tools(service: MemoryService) -> list[_Tool]:
    return [
        _Tool(
            "search_memories",
            "Find memories by the words of q: all of them, or any where no memory has all; most relevant first.",
            Search,
            Page,
            service.search,
            reads_only=True,
        ),
        _Tool(
            "get_memory_statistics",
            "Count a user's memories by type.",
            OfUser,
            Statistics,
            service.statistics,
            reads_only=True,
        ),
    ]
