"""agent-memory-server in one process with its Redis: fakeredis over TCP, which has JSON commands and no search index.

Without the index sessions cannot be listed. Tokens are counted as words, since their table is on the Internet. What is
written and read by id is the server's own work.
"""

import os
import sys
import threading

import fakeredis
import tiktoken
import uvicorn


class Words:
    """An encoding of one token a word."""

    def encode(self, text: str, **_: object) -> list[int]:
        """Give as many tokens as there are words."""
        return [0] * len(text.split())


async def no_index(*_: object, **__: object) -> None:
    """Stand in for the making of the search index."""


def main() -> None:
    """Serve on the port that the first argument names."""
    redis = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    threading.Thread(target=redis.serve_forever, daemon=True).start()
    os.environ["REDIS_URL"] = f"redis://127.0.0.1:{redis.server_address[1]}"
    tiktoken.get_encoding = lambda _name: Words()
    # The environment is read when it is imported.
    from agent_memory_server import main as server

    server.ensure_working_memory_index = no_index
    uvicorn.run(server.app, host="127.0.0.1", port=int(sys.argv[1]))


if __name__ == "__main__":
    main()
