"""The options of the verbs: a group of them is a dataclass, and each name and its help stand once."""
