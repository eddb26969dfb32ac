"""What `fab verify --json` found."""

FINDINGS = {
    "fleet": "paper",
    "findings": [
        {"check": "file-mode", "title": "t", "host": "hive1", "verdict": "fail", "detail": "0644", "waived": None},
        {"check": "file-mode", "title": "t", "host": "hive2", "verdict": "fail", "detail": "0644", "waived": None},
        {"check": "clock", "title": "c", "host": "hive1", "verdict": "pass", "detail": "", "waived": None},
        {
            "check": "credential",
            "title": "d",
            "host": "hive1",
            "verdict": "fail",
            "detail": "",
            "waived": {"until": ""},
        },
    ],
}
