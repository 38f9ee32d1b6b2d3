"""`justitia demo`: the same applications through a real engine and a real gateway, once under each policy.

prompts   recorded lengths and texts → requests that the engine at hand can take
replay    applications' calls in their order, on time; what became of each
client    one call: the OpenAI client against a gateway
meter     an engine's own figures, once a second
report    the numbers and their table
processes, stage, command   starting, stopping, and the order of things
"""
