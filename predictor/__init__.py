"""What will this application cost? Predicted from its first call, and again as its calls end.

    features     what is known at a first call: numbers and hashes of words; and how far an application has come
    examples     that, and what it turned out to cost
    encoding     from that to numbers: TF-IDF over a vocabulary, lengths, the kind
    regression   kernel regression of medians, and what each example is predicted without itself
    estimate     the first estimate: quantiles of log KV token-time
    network      another one: a multi-layer perceptron, on demand; only its training needs torch
    refinement   the later ones, when some calls have ended
    model        both, as the gateway asks them: numpy alone
    training     examples → model
    artifacts    model → bytes → model: safetensors, checked when they are read
    baselines    what it has to beat: means, a linear model, gradient boosting
    evaluation   folds and measures
    report       how good it is, how fast it learns, what it takes

Costs differ a thousandfold between kinds and little within most of them. So everything predicts how far an application
lies from the middle of its kind, in units of the kind's spread, on a log scale; an unknown kind has the middle and
spread of all. A kernel machine, because it is trained in seconds on a processor, says what it would have said of every
example without having seen it (which quantiles and refinement need), and was better on recorded applications than a
multi-layer perceptron and extra trees (benchmarks/results/prediction.json). The perceptron can be asked for.
"""
