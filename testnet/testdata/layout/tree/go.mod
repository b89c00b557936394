module example.org/bad
