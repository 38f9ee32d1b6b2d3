"""Applications to run, recorded or made up, and when they arrive: the same for a real engine and a simulated one.

traces    recorded applications and arrival times: the files, read and checked
sample    the workload used when no file is given, made from a seed
workload  which applications arrive when
"""
