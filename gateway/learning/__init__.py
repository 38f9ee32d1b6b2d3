"""How the gateway learns what applications cost.

    means      running means of kinds: what is predicted while nothing better has been trained
    trained    predicts with the artifact in use, else with those means
    watch      is the artifact in use worth its place? Measured on what closes, beside what would have been said without
    schedule   when is it time to train?
    turns      of several gateways that share a record, one trains
    learning   the loops: keep what closes, follow the shelf, roll back, have training done
    training   training in a process of its own

An application's prediction is made once, from its first call, and refined as calls of it end. When it closes, what was
known at its first call (numbers, no text) and what it cost go into the history (`gateway.ports.History`). `justitia
train` learns from that and publishes an artifact on the shelf (`gateway.ports.ArtifactShelf`), and every gateway of the
same store takes it into use. The models themselves are in the package `predictor`, which only the composition and the
commands import, and which the gateway runs without.
"""
