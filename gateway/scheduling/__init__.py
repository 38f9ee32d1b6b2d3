"""Which call goes to which engine, and when.

`model` has the nouns, `scheduler` decides (sans-I/O: an event and the time in, decisions out), `admission` turns away
what cannot be queued, `estimates` guesses lengths, and `dispatcher` is the async shell that feeds the scheduler and
carries out what it decides.
"""
