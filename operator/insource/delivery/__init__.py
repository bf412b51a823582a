"""Downloads of models: the program of the init container `fetch`. It is told everything by its pod, and asks no API."""
