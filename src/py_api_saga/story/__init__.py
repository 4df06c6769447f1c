"""One saga as data: where it stands, what happened, why, and what can be done. Prints nothing.

The command leans on it, and so may whatever else shows sagas: a page, a dashboard, a test kit.
Nothing that a journal names is imported, and values are their types unless they are asked for.

    saga       what the rows say, and where that leads
    detail     all of it, as JSON has it
    timeline   what happened, line by line
    why        why it stands where it does
    remedies   what can be done about it
    words      times, amounts and values, as they are said
"""
