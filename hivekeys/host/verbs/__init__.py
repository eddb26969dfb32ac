"""What hosts can do beside a run: a module a verb, sent when it is asked for, or part of an installed agent."""
