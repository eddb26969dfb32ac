"""Whatever a hostile host may answer, for Hypothesis."""

from hypothesis import strategies as st

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
results = st.fixed_dictionaries(
    {
        "verb": st.sampled_from(["hello", "observe", "prove", "stage", "reboot"]) | json_values,
        "ok": st.booleans() | json_values,
        "changed": st.booleans() | json_values,
        "seconds": st.floats() | json_values,
        "facts": st.dictionaries(st.text(max_size=8), json_values, max_size=3) | json_values,
        "trouble": st.sampled_from(["", "rubbish", "start-failed"]) | json_values,
        "detail": st.text() | json_values,
    }
)
answers = json_values | st.fixed_dictionaries({"results": json_values | st.lists(results, max_size=3)})
