"""What Justitia adds to vLLM: order by application, and an exact account of KV memory.

The hook, in a paragraph. `scheduler.JustitiaScheduler` is a thin subclass of vLLM's AsyncScheduler, loaded with
`--scheduler-cls`. It replaces none of vLLM's decisions. As a request arrives it turns the request's priority into the
tuple (rank, application id); vLLM's own priority policy compares such tuples as it compares ints, so it admits the
smallest rank first and, when KV memory runs out, preempts the running request of the largest. (Where it is asked for,
`passing` ranks some before the first for one step.) After each scheduling it notes which blocks changed hands
(`ledger`, `block_tables`, `accounting`), and as a request ends it writes a record of what that request held
(`records`). Two methods set on vLLM's EngineCore (`rpc`) let the HTTP process read this state and re-rank live requests
between two steps; `routes.JustitiaRoutes`, loaded with `--middleware`, is their HTTP face.

An exception inside a scheduler kills the server, so no hook may raise: each falls back to vLLM's behaviour, logs the
first failure and counts the rest. Whether this vLLM still works as all this assumes is tried at every start on a toy
pool (`compat`, about 10 ms): if not, the server refuses to start instead of serving in a wrong order.

This package imports vLLM and the standard library, nothing of the gateway. Start it with `justitia engine MODEL`, or:

    python -m vllm.entrypoints.openai.api_server --model MODEL --scheduling-policy priority \\
        --scheduler-cls engine_patch.scheduler.JustitiaScheduler --middleware engine_patch.routes.JustitiaRoutes
"""
