"""What will this application cost? Predicted from its first call, learnt from applications that have ended.

    examples     what is known at a first call, and what it turned out to cost
    encoding     from that to numbers: hashed TF-IDF of the text, lengths, the kind
    network      a small multi-layer perceptron with quantiles of log KV token-time; torch trains it, numpy runs it
    baselines    what it has to beat: means, a linear model, gradient boosting
    evaluation   folds and measures

Costs differ a thousandfold between kinds and little within most of them. So every model predicts how far an application
lies from the middle of its kind, in units of the kind's spread, on a log scale; an unknown kind has the middle and
spread of all.
"""
