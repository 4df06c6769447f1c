"""One saga as data: where it stands, what happened, why, and what can be done. Prints nothing.

The command leans on it, and so may whatever else shows sagas: a page, a dashboard, a test kit.
Nothing that a journal names is imported, and values are their types unless they are asked for.

    saga       what the rows say, and where that leads
    waits      what it waits for, until when, and what comes then
    detail     what it is made of and what was told of it, as JSON has it; no reasons
    timeline   what happened, line by line
    attempts   when each attempt began and ended, and what befell the saga meanwhile
    why        how it and each operation stand, and why; of what is stuck with the words of `stuck`
    remedies   what can be done about it
    many       the rows of many, and why those are stuck that are
    attention  which of a journal's need a person, and why
    words      times, amounts and values, as they are said
"""
