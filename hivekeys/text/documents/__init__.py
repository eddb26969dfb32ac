"""The form of every document that `--json` prints: which keys it has, and what stands there. Pure.

docs/forms.py makes the JSON Schemas and docs/json.md of these types. A form is a promise: what is added keeps its
version, what is changed or taken away raises it.
"""
