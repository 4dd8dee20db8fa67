"""The strict core that structures plain data into values: of this library, and of users' own types."""
