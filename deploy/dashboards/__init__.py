"""The dashboards, as code: `python -m deploy.dashboards` writes the JSON that Grafana is provisioned with.

`panels` says what a panel of ours is; `operators` and `fairness` are one dashboard each, in the order in which they are
read. Every panel answers one question, and its description says when to worry.
"""
