"""How a saga is written: functions, values, entries, definitions, as JSON text."""
