"""At home in frameworks and HTTP clients: a module each, which needs what it is named after.

None is imported by `import py_api_saga`, and none imports its library before it is itself imported.
"""
