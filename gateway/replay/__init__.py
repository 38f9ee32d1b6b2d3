"""What would this policy do to my traffic? Recorded applications through the product's own scheduling code and vLLM's
real scheduler, in virtual time.

Everything that decides is the deployed object: `gateway.scheduling.Scheduler` with its dispatch window,
`gateway.fairness` behind it, and inside the engine vLLM's scheduler and KV manager with our hooks. What is modelled is
what takes time: an engine step (`step_time`), the way to the engine, the gateway's readings of it, tools between calls.
There is no clock and no chance: the same workload and seed give the same events, on any machine.

    scenario     one workload on one engine, on which any policy can be tried
    model        the nouns: what runs, by which rules, and what came of it
    simulation   the event loop: arrivals, calls, steps, readings
    costs        what is predicted for an application when it arrives
    prompts      token ids, so that real prefixes are shared
    step_time    seconds of an engine step
    ideal        when the fluid server would have finished
    measures     completion times, and lateness against another policy and against the fluid server
    records      a run as plain values, for files and pictures
    drawing      the pictures
    command      `justitia replay`
"""
