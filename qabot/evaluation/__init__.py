"""Measuring answers against questions whose answers are known: `qabot eval` and `qabot calibrate`.

questions  question files -> questions with located gold     judging  answer and gold -> one row of facts
metrics    rows -> figures with intervals                     compare  two runs -> paired tests
report     figures -> JSON and terminal; page, plots -> HTML  run      drives an answerer
calibrate  rows -> probabilities and thresholds: `qabot calibrate`

Only `run` asks questions; besides it, only `questions.read_questions` and `report.read_rows` open files. The rest is pure.
"""
