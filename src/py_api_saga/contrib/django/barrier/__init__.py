"""An app: `"py_api_saga.contrib.django.barrier"` in `INSTALLED_APPS` makes the barrier's table.

It is wanted on each alias that effects are written to which count once, by the `saga_barrier` of
`contrib.barrier.django` or by `contrib.barrier.once`. `migrate --database=…` makes it there.
"""
