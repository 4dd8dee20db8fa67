"""Tools for models that have none of their own: told in the instructions, called in the text of the answer."""
