"""Where the predecessor had it: `from py_api_saga.py_api_saga import SagaAssembler`."""

from py_api_saga.assembler import SagaAssembler

__all__ = ["SagaAssembler"]
