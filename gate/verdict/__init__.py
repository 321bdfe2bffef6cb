"""From evidence to a verdict: the gates, the judge, admission, regression. Pure."""
