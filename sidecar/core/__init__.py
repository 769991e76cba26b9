"""Pure rules: no I/O, no clock, no logging; the only third-party import is a JSON parser."""
