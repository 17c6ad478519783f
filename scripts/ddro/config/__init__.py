"""The configuration: experiments, recipes, their schema, and the catalogue of data sets."""
