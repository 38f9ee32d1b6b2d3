"""What clients speak with.

    app ──► data_path ──► openai ──► bodies      what the client asks for, and what of it reaches the engine
                             │  └──► streaming   the answer on its way back ──► usage ──► sse
                             └─────► disconnect  the client that leaves
     └────► applications, operations             FastAPI routes, with `schemas`

Calls go through plain ASGI (`data_path`), because a route of the framework costs as much as everything else together;
the rest, which is rare, goes through FastAPI. `exchange` is one request and its answer, `headers` is what passes.
"""
