"""Sagas with a mistake planted in each, and sagas that are right: what `explore()` says of them.

`mistakes.py` has the mistakes, with what is said of each, `right.py` those that are right, both
about the shop of `shop.py`. The suite explores all of them at one fault; `python -m tests.explored`
those that are right at two faults, and chains at three.
"""
