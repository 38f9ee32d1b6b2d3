"""Applications whose costs are known to depend on what is seen of them."""

import random

from predictor.examples import Example
from predictor.features import Features, Progress


def examples(count: int, seed: int = 1) -> list[Example]:
    """Two kinds a thousandfold apart. Within `chat` cost goes with the prompt's length, within `map` with a word."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        noise, task = draw.uniform(0.95, 1.05), f"task {number % 7}"
        if number % 2:
            prompt_tokens = draw.randint(50, 2000)
            text = " ".join(draw.choices(["please", "find", "the", "thing"], k=20))
            features = Features.of(kind="chat", text=text, prompt_tokens=prompt_tokens)
            found.append(Example(features, 10.0 * prompt_tokens * noise, task))
        else:
            word, cost = draw.choice([("short", 1e6), ("thorough", 8e6)])
            text = f"a {word} summary of " + " ".join(draw.choices(["papers", "letters", "minutes"], k=20))
            found.append(Example(Features.of(kind="map", text=text, prompt_tokens=500), cost * noise, task))
    return found


def retrying(count: int, seed: int = 3) -> list[Example]:
    """A kind whose runs all begin alike: three calls, or twelve that are three times as dear from the first on."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        num_calls, each = draw.choice([(3, 1000.0), (12, 3000.0)])
        each *= draw.uniform(0.9, 1.1)
        progress = tuple(Progress(ended, 1, 400, ended * each) for ended in range(1, num_calls))
        features = Features.of(kind="retry", text="try until it works", prompt_tokens=400)
        found.append(Example(features, num_calls * each, progress=progress))
    return found
