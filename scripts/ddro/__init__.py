"""Library of the DDRO pipeline: pure functions, used by the scripts of the folder above."""
